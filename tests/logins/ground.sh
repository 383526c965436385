#!/bin/sh
# Runs a command where people can log in without touching this host. Usage: ground.sh PARTS COMMAND...
#
# - The command's root is this host's, or that in PICKET_GROUND_ROOT, overlaid: what it and its children write goes to memory and away with them. So accounts, logs
#   and configuration are its own. Debian's sshd, sudo and the like are unpacked there from PARTS (*.deb), installed nowhere.
# - Its network is a loopback of its own; with PICKET_GROUND_AUDIT=1 this host's, since only that one hears audit.
#   Process numbers are the host's, as they are for an agent.
# - Needs root, namespaces and overlayfs; where they are refused it says so and does nothing, which is an error in CI only.
set -eu

parts=${1:?folder of packages}
shift

refused() {
    echo "SKIPPED: the played logins (make test-logins) need $1, which this host refuses"
    [ -z "${CI:-}" ]
    exit
}

net=--net
[ -z "${PICKET_GROUND_AUDIT:-}" ] || net=
queue=/proc/sys/net/unix/max_dgram_qlen

if [ "${PICKET_GROUND:-}" = "" ]; then
    unshare --mount $net --uts true || refused "namespaces of their own"
    PICKET_GROUND=$(mktemp -d)
    export PICKET_GROUND
    found=$(cat $queue)
    trap '[ -n "$net" ] || echo "$found" >$queue; rmdir "$PICKET_GROUND"' EXIT
    unshare --mount $net --uts -- "$0" "$parts" "$@"
    exit
fi

work=$PICKET_GROUND
root=$work/root
programs=$(dirname "$1")
mount -t tmpfs none "$work"
mkdir "$work/upper" "$work/work" "$root"
lower=${PICKET_GROUND_ROOT:-/}
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/work" "$root" || refused overlayfs
for part in "$parts"/*.deb; do
    [ "$lower" = / ] || break # it has them
    dpkg-deb --fsys-tarfile "$part" | tar -x --keep-directory-symlink -C "$root"
done

mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs none "$root/dev"
device() {
    mknod -m 666 "$root/dev/$1" c "$2" "$3"
}
device null 1 3
device zero 1 5
device full 1 7
device random 1 8
device urandom 1 9
device tty 5 0
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 none "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs none "$root/run"
mount -t tmpfs none "$root/tmp"
mkdir -p "$root/run/sshd" "$root$programs"
mount --rbind "$programs" "$root$programs"
# As at boot: the folders that the databases of logins are in.
for records in wtmpdb lastlog2-tmpfiles; do
    if [ -e "$root/usr/lib/tmpfiles.d/$records.conf" ]; then
        chroot "$root" systemd-tmpfiles --create "$records.conf"
    fi
done
hostname ground
# As systemd sets it: else journald drops lines on their way to syslog. It is this network's own, or is put back.
echo 512 >$queue
ip link set lo up
exec chroot "$root" "$@"
