# shellcheck shell=bash
# Fibre Channel in one guest: software FCoE between the ends of a veth pair, tcm_fc as target.
# Path P: target port t$P, initiator port i$P. A port's name (WWPN) is 20:00 and its MAC.
target_mac() { echo "52:54:00:00:0$1:0a"; }
client_mac() { echo "52:54:00:00:0$1:0b"; }
target_name() { echo "20:00:$(target_mac "$1")"; }
client_name() { echo "20:00:$(client_mac "$1")"; }

# cable P: an Ethernet cable; a whole frame of Fibre Channel needs an MTU of 2500.
cable() {
  ip link add "t$1" type veth peer name "i$1"
  ip link set "t$1" address "$(target_mac "$1")" mtu 2500 up
  ip link set "i$1" address "$(client_mac "$1")" mtu 2500 up
}

vn2vn() { echo "$1" >/sys/module/libfcoe/parameters/create_vn2vn; }

# export_disk P LUN DISK READ-ONLY: after the target's port is there; it wants to know its client.
export_disk() {
  local group
  group=$TCM/fc/$(target_name "$1")/tpgt_1
  map "$group" "$2" "$3" "$1"
  allow "$group" "$(client_name "$1")" "$2" "$2" "$4"
}

# The folder of the remote port that path P's initiator sees; fails while there is none.
remote_port() {
  local name
  name=0x$(target_name "$1" | tr -d :)
  grep -lx "$name" /sys/class/fc_remote_ports/*/port_name | sed 's,/port_name$,,' | grep .
}

# port_has P FILE WORDS
port_has() { grep -q "$3" "$(remote_port "$1")/$2"; }

# connect P: brings the initiator's port up. Software VN2VN sometimes stays offline, whichever
# side begins: then the port is taken away and made again, up to three times.
connect() {
  local attempt
  for attempt in 1 2 3; do
    vn2vn "i$1"
    if wait_for 10 port_has "$1" roles 'FCP Target' && wait_for 5 has_lun "$1"; then
      echo "path $1 is up, attempt $attempt"
      return 0
    fi
    echo "i$1" >/sys/module/libfcoe/parameters/destroy
    sleep 1
  done
  return 1
}

# The SCSI devices (H:C:T:L) behind path P; fails while there is none.
luns() {
  local port
  port=$(remote_port "$1") || return
  # rport-H:C-N has its target below it in the tree of devices.
  find -H "$port/device" -maxdepth 2 -name '[0-9]*:[0-9]*:[0-9]*:[0-9]*' -printf '%f\n' |
    sort -u | grep .
}
has_lun() { luns "$1"; }

# generic P, block P: the nodes of the first disk behind path P
generic() {
  local lun
  lun=$(luns "$1" | head -n 1)
  ls "/sys/bus/scsi/devices/$lun/scsi_generic" | sed 's,^,/dev/,'
}
block() {
  local lun
  lun=$(luns "$1" | head -n 1)
  ls "/sys/bus/scsi/devices/$lun/block" | sed 's,^,/dev/,'
}

# times P DEV-LOSS FAST-FAIL: before a cut; the port refuses it while it is blocked.
times() {
  local port
  port=$(remote_port "$1")
  echo "$2" >"$port/dev_loss_tmo"
  echo "$3" >"$port/fast_io_fail_tmo"
}

# host_is P STATE: the state of path P's own port.
host_is() {
  local name host
  name=0x$(client_name "$1" | tr -d :)
  host=$(grep -lx "$name" /sys/class/fc_host/*/port_name)
  grep -qx "$2" "${host%/port_name}/port_state"
}

# cut_path P, mend_path P: the initiator's port of a path loses its link and gets it again, as by a
# cable that is pulled; until its kernel has noticed. Not by `ip link`: with commands on the way
# Linux 6.1 can then wait for ever, with the lock of all network devices held.
# Software VN2VN sometimes stays offline after that, too: then it is done once more, up to four
# times. The initiator having its target again says nothing yet about who reads by it.
cut_path() {
  echo "i$1" >/sys/module/libfcoe/parameters/disable
  wait_for 20 host_is "$1" Linkdown
}
mend_path() {
  local attempt
  for attempt in 1 2 3 4; do
    echo "i$1" >/sys/module/libfcoe/parameters/enable
    if wait_for 12 host_is "$1" Online && wait_for 12 port_has "$1" port_state Online &&
      wait_for 5 has_lun "$1"; then
      echo "path $1 is mended, attempt $attempt"
      return 0
    fi
    fabric >&2
    cut_path "$1"
    sleep 1
  done
  return 1
}

# What the kernel says of its ports and of the disks behind them.
fabric() {
  grep -H . /sys/class/fc_host/*/port_state /sys/class/fc_remote_ports/*/{port_name,port_state} \
    /sys/bus/scsi/devices/*:*/state
}
