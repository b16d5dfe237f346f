#!/usr/bin/env bash
# Makes the namespaces it runs in a machine of their own, then runs a command as its first process:
#   unshare --pid --mount --uts --net --fork --kill-child machine.sh FOLDER NAME KEEP... -- COMMAND...
# /root, /home, /run, /tmp, /var, /dev/shm and /etc are private and go with the last process; the rest of the file
# system is the host's, and so are the folders KEEP wherever they are. FOLDER: an empty one to mount on.
set -euo pipefail
root=$1 name=$2
shift 2
keep=()
while [ "$1" != -- ]; do keep+=("$1"); shift; done
shift

hostname "$name"
mount -t tmpfs -o mode=755 tmpfs "$root"
for entry in /*; do
  case $entry in
    /proc | /sys | /etc | /root | /home | /run | /tmp | /var | /lost+found) continue ;;
  esac
  if [ -L "$entry" ]; then
    cp -P "$entry" "$root/"
  elif [ -d "$entry" ]; then
    mkdir "$root$entry"
    mount --rbind "$entry" "$root$entry"
  fi
done
mkdir -p "$root"/{proc,sys,home,run/sshd,run/netns,tmp,var/tmp,var/log,var/lib}
mkdir -m 700 "$root/root"
chmod 1777 "$root/tmp" "$root/var/tmp"
cp -a /etc "$root/etc"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/dev/shm"
for path in "${keep[@]}"; do
  [ -e "$root$path" ] && continue
  mkdir -p "$root$path"
  mount --rbind "$path" "$root$path"
done
ip link set lo up
exec chroot "$root" "$@"
