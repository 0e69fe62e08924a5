# shellcheck shell=bash
# Functions of every guest. The agent knows them; /run/lab/*.sh are copies for other programs.

# card_up NAME ADDRESS
card_up() {
  modprobe virtio_net
  ip link set "$1" up
  ip address add "$2/24" dev "$1"
}

# wait_for SECONDS COMMAND...: until it succeeds. What the kernel does by itself tells nobody.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $end ]; then
      echo "still not, after the whole time: $*" >&2
      return 1
    fi
    sleep 0.1
  done
}

# --- LIO, the kernel's target, by its configfs -------------------------------------------------
TCM=/sys/kernel/config/target

# target_up MODULE...
target_up() {
  modprobe -a configfs target_core_mod target_core_file crc32c_generic "$@"
  mkdir -p /etc/target
  mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
  watch_target
}

# disk NAME SOURCE SERIAL: a copy of the file SOURCE as a disk with two port groups, g0 and g1.
# Its NAA name is 6001405 and the first 25 digits of the serial.
disk() {
  local core=$TCM/core/fileio_0/$1 group
  cp --sparse=always "$2" "/run/lab/$1.img"
  mkdir -p "$core"
  echo "fd_dev_name=/run/lab/$1.img,fd_dev_size=$(stat -c %s "$2")" >"$core/control"
  echo "$3" >"$core/wwn/vpd_unit_serial"
  echo 1 >"$core/enable"
  for group in 0 1; do
    mkdir -p "$core/alua/g$group"
    echo $((group + 1)) >"$core/alua/g$group/tg_pt_gp_id"
  done
}

# map TPG LUN DISK GROUP: the disk, by ports of this portal group.
map() {
  local lun=$1/lun/lun_$2
  mkdir -p "$lun"
  ln -s "$TCM/core/fileio_0/$3" "$lun/disk"
  echo "g$4" >"$lun/alua_tg_pt_gp"
}

# allow TPG CLIENT NUMBER LUN READ-ONLY: a client sees a LUN under a number of its own.
allow() {
  local access=$1/acls/$2/lun_$3
  mkdir -p "$access"
  ln -s "$TCM/${1#"$TCM/"}/lun/lun_$4" "$access/lun"
  echo "$5" >"$access/write_protect"
}

# alua DISK GROUP STATE: 0 optimized, 1 non-optimized, 2 standby, 3 unavailable
alua() {
  echo "$3" >"$TCM/core/fileio_0/$1/alua/g$2/alua_access_state"
}

# --- what the kernel saw -----------------------------------------------------------------------
TRACING=/sys/kernel/tracing

# watch GROUP/EVENT: record it from now on
watch() {
  mountpoint -q $TRACING || mount -t tracefs tracefs $TRACING
  echo 16384 >$TRACING/buffer_size_kb
  echo 1 >"$TRACING/events/$1/enable"
}

# The target core's own word for a command that has arrived, before it looks at it.
watch_target() { watch target/target_sequencer_start; }

# What the initiator's side of the kernel hands to a driver.
watch_initiator() { watch scsi/scsi_dispatch_cmd_start; }

complete() {
  if grep -qE '^overrun: [1-9]' $TRACING/per_cpu/cpu*/stats; then
    echo "the record has lost something" >&2
    return 1
  fi
}

# arrived CLIENT: the first two bytes of each command of a client, one command per line
arrived() {
  complete
  sed -n "s/.*target_sequencer_start: $1 -> .* CDB \(..\) \(..\) .*/\1 \2/p" $TRACING/trace
}

# sent [HOST]: the first two bytes of each command that was handed to a host's driver
sent() {
  complete
  sed -n "s/.*scsi_dispatch_cmd_start: host_no=${1:-[0-9]*} .*raw=\(..\) \(..\).*/\1 \2/p" \
    $TRACING/trace
}
