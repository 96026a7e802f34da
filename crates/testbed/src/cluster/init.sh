# Process 1 of a machine: makes the folder $1 its root, says which process it is, and reaps until its end.
# $2: folder of parts, $3: host name, $4: `held`, if it shall end when its standard input does.
set -eu
root=$1 parts=$2 host=$3 held=$4

# The /proc seen here is still that of whoever starts this.
read -r outer _ </proc/self/stat
echo "$outer"
# Whoever starts this has put the process on record, and wired its network.
read -r _

mount --bind "$root" "$root"
for dir in usr bin sbin lib lib64 lib32 libx32; do
  if [ -L "/$dir" ]; then
    ln -sfn "$(readlink "/$dir")" "$root/$dir"
  elif [ -d "/$dir" ]; then
    mkdir -p "$root/$dir"
    mount -o bind,ro "/$dir" "$root/$dir"
  fi
done
mount -o bind,ro "$parts" "$root/parts"
if [ -d /etc/alternatives ]; then mount -o bind,ro /etc/alternatives "$root/etc/alternatives"; fi
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
# What stands for a value of the kernel's is read by programs of this machine only. A kubelet finds what it would set, and
# leaves the kernel alone; the boot is that of this machine.
(cd "$root/etc/kernel" && find . -type f) | while read -r file; do
  mount -o bind "$root/etc/kernel/$file" "$root/proc/sys/$file"
done

cd "$root"
mkdir -p .outside
pivot_root . .outside
cd /
umount -l /.outside
mount --make-rshared /

hostname "$host"
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo up

# `wait` reaps orphans too.
if [ "$held" = held ]; then
  exec 3<&0
  cat <&3 >/dev/null &
  wait $!
  exit 0
fi
exec </dev/null >/dev/null 2>&1
while :; do
  sleep 86400 &
  wait $! || :
done
