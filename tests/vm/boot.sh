#!/bin/sh
# Boots a kernel with an initramfs and gives its verdict. Usage: boot.sh KERNEL INITRAMFS [APPEND...]
#
# APPEND is added to the kernel's command line. LIMIT is how many seconds the guest has (default 900), LOG where its console is kept.
# Prints the lines of the guest that begin with PICKET-VM.
#
# - Emulated (TCG), because that works everywhere; no network, no disk, nothing of this machine within reach.
# - Exit code 0 only when the guest said its verdict and nothing failed. A panic, a hang or a missing verdict is a failure.
set -eu

kernel=${1:?a kernel image}
initramfs=${2:?an initramfs}
shift 2
limit=${LIMIT:-900}
log=${LOG:-}
if [ -z "$log" ]; then
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
fi

code=0
timeout --kill-after=10 "$limit" qemu-system-x86_64 \
    -accel tcg,thread=multi -cpu max -m "${MEMORY:-2048}" -smp 2 -nographic -no-reboot -nodefaults -serial stdio -nic none \
    -kernel "$kernel" -initrd "$initramfs" \
    -append "console=ttyS0 panic=-1 quiet loglevel=3 mitigations=off $*" \
    </dev/null >"$log" 2>&1 || code=$?
tr -d '\r' <"$log" | grep -a '^PICKET-VM' || true

failure() {
    echo "boot of $(basename "$kernel"): $1; the console's last lines:" >&2
    tr -d '\r' <"$log" | tail -n "${LINES_SHOWN:-40}" >&2
    exit 1
}

verdict=$(tr -d '\r' <"$log" | grep -a '^PICKET-VM verdict ' | tail -n 1)
[ "$code" != 124 ] && [ "$code" != 137 ] || failure "no end within $limit s"
[ -n "$verdict" ] || failure "no verdict"
case $verdict in
*' passed=0 '*) failure "nothing passed" ;;
*' failed=0 '*) ;;
*) failure "tests failed" ;;
esac
