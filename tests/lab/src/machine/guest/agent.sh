#!/bin/bash
# Process 1 of a guest, once its root is there: does what the host says on a virtio port.
#
#   host:   VERB BYTES \n SCRIPT        VERB run: in a subshell, the first failure ends it
#                                       VERB source: here, so that its functions stay
#   guest:  " " and a line of output, … then "=" and the exit status; empty lines mean nothing
#
# The end of the port is the end of the guest.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
cd /
ip link set lo up

for port in /sys/class/virtio-ports/*; do
  if [ "$(cat "$port/name")" = holdfast ]; then exec 3<>"/dev/${port##*/}"; fi
done

# Whoever reads from it waits for ever.
mkfifo /run/lab/forever
exec 9<>/run/lab/forever

answer() { printf '\n=%s\n' "$1" >&3; }

echo "guest: up after $(cut -d' ' -f1 /proc/uptime) s, kernel $(uname -r)"
answer 0
while read -r -u 3 verb bytes && read -r -N "$bytes" -u 3 script; do
  if [ "$verb" = source ]; then
    eval "$script"
    answer $?
  else
    (set -eu -o pipefail; eval "$script") </dev/null 2>&1 3>&- | sed -u 's/^/ /' >&3
    answer "${PIPESTATUS[0]}"
  fi
done
# No program can be started from here on: its files may be gone before it is.
echo o >/proc/sysrq-trigger
read -r -u 9
