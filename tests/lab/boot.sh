#!/usr/bin/env bash
# boot.sh TEMPLATE DIRECTORY NAME CGROUP NETNS [ARGUMENT...]
#
# Boots host NAME, with systemd as its process 1, on an overlay of TEMPLATE whose changes are kept in
# DIRECTORY, and stays until the host is gone. ARGUMENTs go to systemd-nspawn. To be run in a mount
# namespace of its own (`unshare --mount --propagation private`): every mount goes with it.
#
# Standard input is the lifeline: when it ends, in whatever way whoever holds the other end died, the
# host is killed. Nothing is left but DIRECTORY.
set -euo pipefail
template=$1 directory=$2 name=$3 cgroup=$4 netns=$5
shift 5
exec 3<&0 </dev/null

mkdir -p "$directory"/{upper,work,root}
mount -t overlay -o "lowerdir=$template,upperdir=$directory/upper,workdir=$directory/work" overlay "$directory/root"

# systemd in the host wants the unified hierarchy, whatever this machine uses: a view of our own, and a
# group in it that is ours to remove.
mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup/$cgroup
mkdir -p "$group"

# systemd-nspawn's locks and sockets stay out of this machine's /run.
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd

# Only systemd-nspawn is in the group. The extra system call and capabilities are what IPAddressDeny=
# takes inside.
(
  echo "$BASHPID" >"$group/cgroup.procs"
  export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=no
  exec systemd-nspawn --quiet --directory="$directory/root" --machine="$name" --hostname="$name" \
    --network-namespace-path="$netns" --register=no --keep-unit --notify-ready=yes \
    --kill-signal=SIGRTMIN+3 --resolv-conf=off --timezone=off --link-journal=no --console=pipe \
    --system-call-filter=bpf --capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON "$@" --boot
) &
nspawn=$!

# A killed systemd-nspawn would leave the host running without it; of a killed host it takes leave.
(
  read -r _ <&3 || true
  while children=$(cat "/proc/$nspawn/task/$nspawn/children" 2>/dev/null); do
    if [ -n "$children" ]; then kill -KILL $children 2>/dev/null; else sleep 0.05; fi
  done
) &
lifeline=$!
disown "$lifeline"

status=0
wait "$nspawn" || status=$?
kill -KILL "$lifeline" 2>/dev/null || true

# All of the host's processes are gone with its process 1; the next boot wants the overlay to itself.
umount "$directory/root"
find "$group" -depth -type d -exec rmdir {} +
exit "$status"
