#!/bin/busybox sh
# The first process of a guest: makes the host's file system its root, without a way to write to
# it, and hands over to agent.sh. HOST_MODULES and KERNEL stand in /settings.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
fail() {
  echo "guest: $*"
  poweroff -f
}
. /settings
while read -r module; do
  insmod "/modules/$module" || echo "guest: $module cannot be loaded"
done </modules/order
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro,cache=loose host /host ||
  fail "cannot reach the host's files"
mount -t tmpfs -o size=60% tmpfs /over
mkdir -p /over/upper /over/work
mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /root ||
  fail "no root"
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
mount -t tmpfs tmpfs /root/run
mkdir -p /root/run/lab /root/run/lock "/root/usr/lib/modules/$KERNEL"
mount -t tmpfs -o size=60% tmpfs /root/run/lab
mount --bind "/host$HOST_MODULES" "/root/usr/lib/modules/$KERNEL" || fail "no modules"
cp /agent.sh /root/run/lab/agent.sh
# Not chroot: only a real root lets the kernel find modprobe by itself.
exec switch_root /root /bin/bash /run/lab/agent.sh
