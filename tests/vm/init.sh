#!/bin/sh
# The first process of a test guest: mounts what a host has, runs the tests, says the verdict on the console, switches off.
#
# The kernel command line chooses: `picket.case=CASE` what this host lacks (nobtf), `picket.only=A,B` the tests whose names contain
# one of these, `picket.limit=SECONDS` per test, `picket.slowness=N` how many times longer the tests may wait.
PATH=/usr/bin
export PATH HOME=/root TMPDIR=/tmp RUST_BACKTRACE=0

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
ip link set lo up
ip addr add 127.0.0.1/8 dev lo 2>/dev/null

. /verdict.sh

case=$(argument case plain)
only=$(argument only '')
limit=$(argument limit 600)
PICKET_TEST_SLOWNESS=$(argument slowness 10)
export PICKET_TEST_SLOWNESS
export PICKET_TEST_MAY_CHANGE_AUDIT=1 # a machine of its own

wanted() {
    [ -n "$only" ] || return 0
    for part in $(echo "$only" | tr , ' '); do
        case $1 in
        *"$part"*) return 0 ;;
        esac
    done
    return 1
}

# run_test BINARY TEST: in a process of its own, as long as it may take. Every kernel here has BPF, so no sensor is a failure.
run_test() {
    begun=$(date +%s)
    timeout -s KILL "$limit" "/tests/$1" --exact "$2" --nocapture >/tmp/said 2>&1
    code=$?
    took=$(($(date +%s) - begun))s
    if [ $code != 0 ] || grep -q '^SKIPPED: no kernel sensor' /tmp/said; then
        sed 's/^/    /' /tmp/said | tail -n 60
        told failed "$1 $2" "$took exit=$code"
    elif grep -q '^SKIPPED' /tmp/said; then
        told skipped "$1 $2" "$took $(grep -m 1 '^SKIPPED' /tmp/said)"
    else
        told passed "$1 $2" "$took"
    fi
    rm -f /tmp/said
}

# A host without type information: the agent says so and takes the next source.
check_without_types() {
    mount -t tmpfs none /sys/kernel/btf
    picket-agent doctor >/tmp/doctor 2>&1
    if grep -q '/sys/kernel/btf/vmlinux' /tmp/doctor; then
        told passed 'agent doctor::names_the_missing_types'
    else
        cat /tmp/doctor
        told failed 'agent doctor::names_the_missing_types'
    fi
    (sleep 3 && true) & # something to see
    picket-agent watch --json --for 8s >/tmp/watch 2>/tmp/watch.err
    cat /tmp/watch.err
    if grep -q '"source":"audit"' /tmp/watch && grep -q '/sys/kernel/btf/vmlinux' /tmp/watch.err; then
        told passed 'agent watch::takes_the_next_source_and_says_why'
    else
        head -n 5 /tmp/watch
        told failed 'agent watch::takes_the_next_source_and_says_why'
    fi
}

echo # the firmware leaves the cursor behind its own words
say "kernel $(uname -r) case=$case lsm=$(cat /sys/kernel/security/lsm)"
if [ "$case" = nobtf ]; then
    check_without_types
else
    while read -r binary test; do
        wanted "$test" && run_test "$binary" "$test" </dev/null
    done </tests/list
fi
verdict
