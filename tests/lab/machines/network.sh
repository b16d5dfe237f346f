#!/usr/bin/env bash
# First process of the machine from which `ray up` is called: a bridge at 10.77.0.1, and behind it a machine with an
# SSH server for each NAME, at 10.77.0.11 and up. Everything that it made ends with it.
#   network.sh FOLDER KEEP... -- NAME...
# FOLDER holds the server's settings (sshd_config); `ready` appears in it when all machines are there.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
folder=$1 keep=()
while [ "$1" != -- ]; do keep+=("$1"); shift; done
shift
here=$(dirname "$0")

ip link add name lab type bridge
ip addr add 10.77.0.1/24 dev lab
ip link set lab up
sed -i 's/^root:[^:]*:/root:*:/' /etc/shadow # no password, but not locked: keys are accepted
number=11
for name in "$@"; do
  echo "10.77.0.$number $name" >> /etc/hosts
  number=$((number + 1))
done
number=11
for name in "$@"; do
  ip netns add "$name"
  ip link add "to-$name" type veth peer name eth0 netns "$name"
  ip link set "to-$name" master lab up
  ip -n "$name" addr add "10.77.0.$number/24" dev eth0
  ip -n "$name" link set eth0 up
  ip -n "$name" route add default via 10.77.0.1 # leads nowhere; programs find their own address by it
  ip netns exec "$name" unshare --pid --mount --uts --fork --kill-child \
    "$here/machine.sh" "$(mktemp -d)" "$name" "${keep[@]}" -- /usr/sbin/sshd -D -e -f "$folder/sshd_config" \
    2> "$folder/sshd-$name.log" &
  number=$((number + 1))
done
number=11
for _ in "$@"; do
  until (exec 3<> "/dev/tcp/10.77.0.$number/22") 2> /dev/null; do sleep 0.1; done
  number=$((number + 1))
done
touch "$folder/ready"
wait
