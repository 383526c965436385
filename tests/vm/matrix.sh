#!/bin/sh
# Runs the privileged tests on other kernels, and prints what came of it as a table. Usage: matrix.sh [--short]
#
#   kernels  Debian's 5.10, 6.1, 6.12 and the newest backport; PICKET_VM_SUITES names others, PICKET_VM_CASES other cases,
#           PICKET_VM_ONLY=A,B the tests of `lsm` whose names contain one of these
#   cases    lsm     BPF LSM active: all tests
#            nolsm   BPF LSM inactive: the short list
#            nobtf   no type information: the agent says why and takes the next source
#            systemd BPF LSM active, a whole Debian: the agent as a service that protects itself
#   --short  6.1 alone, BPF LSM active, the short list
#
# - What cannot be had (QEMU, a kernel) is skipped by name with the reason. With QEMU and no kernel at all, that is what is said.
# - Exit code 1 when any guest failed: a test, a panic, a hang, no verdict.
# - The consoles are kept in PICKET_CACHE/vm.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${PICKET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/picket}
target=${CARGO_TARGET_DIR:-$cache/target}
logs=$cache/vm
active=lsm=lockdown,capability,landlock,yama,apparmor,bpf
inactive=lsm=lockdown,capability,landlock,yama,apparmor
short_list=what_others_do_to_the_agent,a_listed_file_does_not_start,every_hook_is_proved,the_canary_is_not,an_exec_tells_who,odd_arguments,a_script_names,a_program_in_memory,a_file_is_seen,a_path_goes_through,opening_a_secret,connections_over,a_recording_replays
suites=${PICKET_VM_SUITES:-bullseye bookworm trixie trixie-backports}
cases="lsm nolsm nobtf systemd"
cases=${PICKET_VM_CASES:-$cases}
limit=7200
if [ "${1:-}" = --short ]; then
    suites=bookworm cases=short limit=1200
fi

skip_all() {
    echo "SKIPPED: the kernel matrix (make test-vm): $1"
    exit 0
}

# Test binaries of the packages whose privileged tests need nothing but a kernel, as PROGRAM=NAME.
test_binaries() {
    cargo test --quiet --no-run --workspace --message-format=json-render-diagnostics |
        sed -n 's/.*"package_id":"[^"]*#picket-\(sensor\|spool\|agent\)@.*"test":true.*"executable":"\([^"]*\)".*/\2 \1/p' |
        while read -r program package; do
            "$program" --list --format terse 2>/dev/null | grep -q '\(^\|::\)privileged::' || continue
            echo "$program=$package.$(basename "$program" | sed 's/-[0-9a-f]*$//')"
        done
}

# guest CASE: what is added to the kernel's command line
guest() {
    case $1 in
    lsm) echo "$active ${PICKET_VM_ONLY:+picket.only=$PICKET_VM_ONLY}" ;;
    nolsm) echo "$inactive picket.only=$short_list" ;;
    nobtf) echo "$active picket.case=nobtf" ;;
    systemd) echo "$active systemd.show_status=false" ;;
    short) echo "$active picket.only=$short_list" ;;
    esac
}

# whole: an initramfs of a whole Debian with the programs and the tests of systemd.sh in it
whole() {
    [ -e "$work/whole" ] && return 0
    image=$("$here/image.sh" bookworm) || return 1
    over=$work/over
    mkdir -p "$over/usr/bin" "$over/vm" "$over/etc/systemd/system/multi-user.target.wants"
    for program in picket-agent picket-collector picketctl; do
        strip --strip-debug -o "$over/usr/bin/$program" "$target/debug/$program"
    done
    cp "$here/systemd.sh" "$here/verdict.sh" "$over/vm"
    printf '[Service]\nType=exec\nExecStart=/vm/systemd.sh\n' >"$over/etc/systemd/system/picket-vm.service"
    ln -s ../picket-vm.service "$over/etc/systemd/system/multi-user.target.wants/picket-vm.service"
    (cd "$over" && find . | cpio --quiet -o -H newc --owner 0:0 | gzip -1) >"$work/over.cpio.gz"
    cat "$image" "$work/over.cpio.gz" >"$work/whole"
}

# boot SUITE KERNEL CASE: one line of the table
boot() {
    log=$logs/$1-$3.log
    said=$work/said
    version=$(basename "$2" | sed 's/^vmlinuz-//')
    echo "== $version $3"
    result=ok
    initramfs=$work/initramfs
    if [ "$3" = systemd ]; then
        if ! whole 2>"$work/why"; then
            echo "SKIPPED: $(tail -n 1 "$work/why")"
            row "$version" "$3" SKIPPED - - -
            return
        fi
        initramfs=$work/whole
    fi
    # shellcheck disable=SC2046 # words on purpose
    LOG=$log LIMIT=$limit MEMORY=3072 "$here/boot.sh" "$2" "$initramfs" $(guest "$3") >"$said" || result=FAILED
    grep -v '^PICKET-VM passed' "$said" | sed 's/^PICKET-VM //'
    [ $result = ok ] || failed="$failed $version/$3"
    counts=$(sed -n 's/^PICKET-VM verdict passed=\([0-9]*\) failed=\([0-9]*\) skipped=\([0-9]*\).*/\1 \2 \3/p' "$said" | tail -n 1)
    row "$version" "$3" $result ${counts:-- - -}
}

row() {
    printf '%-24s %-7s %-8s %7s %7s %8s\n' "$@" >>"$work/table"
}

command -v qemu-system-x86_64 >/dev/null 2>&1 || skip_all "qemu-system-x86_64 is missing (Debian: qemu-system-x86)"
for tool in cpio busybox; do
    command -v $tool >/dev/null 2>&1 || skip_all "$tool is missing"
done
[ "$(uname -m)" = x86_64 ] || skip_all "written for x86-64, this is $(uname -m)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$logs"
binaries=$(test_binaries)
# shellcheck disable=SC2086 # words on purpose
AGENT=$target/debug/picket-agent "$here/initramfs.sh" "$work/initramfs" $binaries

failed=''
booted=0
row kernel case result passed failed skipped
for suite in $suites; do
    if ! kernel=$("$here/kernel.sh" "$suite" 2>"$work/why"); then
        echo "SKIPPED: $(tail -n 1 "$work/why")"
        row "$suite" - SKIPPED - - -
        continue
    fi
    booted=$((booted + 1))
    for case in $cases; do
        boot "$suite" "$kernel" "$case"
    done
done
echo
cat "$work/table"
[ $booted != 0 ] || skip_all "no kernel could be had"
[ -z "$failed" ] || { echo "failed:$failed (consoles in $logs)" >&2; exit 1; }
