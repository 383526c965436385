#!/bin/sh
# Packs the smallest initramfs that finds the guest's disk. Usage: initrd.sh ROOT OUTPUT
#
# ROOT is the unpacked Debian whose kernel is booted: its modules for the disk are taken, with a static busybox of this machine. Debian's own
# initramfs asks for every device there is, which takes minutes in an emulated machine.
set -eu

root=${1:?an unpacked Debian}
output=${2:?an output file}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(basename "$root"/lib/modules/*)
mkdir -p "$work/bin" "$work/m" "$work/proc" "$work/dev" "$work/root"
cp "$(command -v busybox)" "$work/bin/busybox"
number=100
for module in virtio_pci virtio_blk crc32c_generic ext4; do
    chroot "$root" modprobe --set-version "$version" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    cp "$root$file" "$work/m/$number.ko"
    number=$((number + 1))
done
cat >"$work/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
for module in /m/*; do $b insmod "$module"; done
until [ -b /dev/vda ]; do $b sleep 0.1; done
$b mount -t ext4 /dev/vda /root
$b umount /proc
$b umount /dev
exec $b switch_root /root /sbin/init
INIT
chmod 755 "$work/init"
(cd "$work" && find . | cpio --quiet -o -H newc --owner 0:0 | gzip -1) >"$output"
