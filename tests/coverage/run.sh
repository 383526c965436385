#!/bin/sh
# How much of a list of tests the agent sees and judges, in a machine of its own without a network. Usage: run.sh LIST [--short]
#
#   OUT=FOLDER     where log and report go (default: PICKET_CACHE/coverage/runs/DATE)
#   ONLY=T1,T2     only techniques that begin so        LIMIT=N    at most so many tests
#   MINUTES=N      no test begins after so many         JOBS=N     machines at a time (default 1)
#   RENAMED=       empty: not with renamed programs     FILES=DIR  files that come with the tests ($ATOMICS in them)
#   PATIENCE=N     how many times longer than on an ordinary machine a test may take (default 5)
#   TECHNIQUES=F   techniques with tactics (default: attack_linux.json of the development data, where it is)
#   ALL_EVENTS=1   keeps all events of a test, however many (default: 20,000 that are not judged)
#   JUDGE=FOLDER   runs nothing, judges again what an earlier run left there
#   REJUDGE=FOLDER runs nothing, has the agent of this build judge the events of an earlier run anew (its pack, its scorer) and judges that
#   --short        less idle time: for CI. Fails if a test was not executed or not seen.
#
# - What cannot be had (QEMU, root for the disk) is said loudly; nothing is run then. In CI (CI is set) that is an error.
# - The programs are those that were built: $CARGO_TARGET_DIR/debug, or PROGRAMS=FOLDER.
set -eu

list=${1:?a list of tests, as JSON}
short=${2:-}
here=$(cd "$(dirname "$0")" && pwd)
cache=${PICKET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/picket}
programs=${PROGRAMS:-${CARGO_TARGET_DIR:-$cache/target}/debug}
data=$here/../../../shared/data
techniques=${TECHNIQUES:-$data/attack_linux.json}

skip() {
    echo "SKIPPED: coverage (make coverage): $1"
    [ -z "${CI:-}" ] || exit 1
    exit 0
}

# What is laid over the guest's disk: this build, the settings of the package, files of the tests.
make_payload() {
    over=$work/over
    mkdir -p "$over/usr/bin" "$over/etc/picket" "$over/opt/files"
    for program in picket-agent picket-coverage; do
        strip --strip-debug -o "$over/usr/bin/$program" "$programs/$program"
    done
    cp "$here/../../packaging/etc/agent.toml" "$over/etc/picket/agent.toml"
    [ -z "${FILES:-}" ] || cp -R "$FILES/." "$over/opt/files"
    chmod -R a+rX "$over"
    tar -C "$over" --owner 0 --group 0 --sort=name --mtime=@0 -cf "$work/payload.tar" .
}

# A booted machine is kept for runs with the very same programs on the very same disk; only the newest.
forget_other_machines() {
    frozen=$cache/coverage/frozen/$1
    for other in "$cache"/coverage/frozen/*; do
        [ "$other" = "$frozen" ] || rm -rf "$other"
    done
    mkdir -p "$frozen"
}

play() {
    command -v qemu-system-x86_64 >/dev/null 2>&1 || skip "qemu-system-x86_64 is missing (Debian: qemu-system-x86)"
    [ "$(uname -m)" = x86_64 ] || skip "written for x86-64, this is $(uname -m)"
    debian=$("$here/disk.sh") || skip "no disk for the guest"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    make_payload
    forget_other_machines "$(cat "$debian/recipe" "$work/payload.tar" | sha256sum | cut -c1-32)"
    pack=$(cat "$here"/../../agent/rules/*.yml | sha256sum | cut -d' ' -f1)
    "$programs/picket-coverage" run --list "$list" --out "$out" --debian "$debian" --payload "$work/payload.tar" --frozen "$frozen" \
        --patience "${PATIENCE:-5}" --jobs "${JOBS:-1}" --idle "${IDLE:-60}" ${ALL_EVENTS:+--all-events} \
        ${ONLY:+--only "$ONLY"} ${LIMIT:+--limit "$LIMIT"} ${MINUTES:+--minutes "$MINUTES"} $([ -n "${RENAMED-1}" ] || echo --no-renamed) \
        --condition "pack_sha256=$pack" --condition "list_sha256=$(sha256sum "$list" | cut -d' ' -f1)" \
        --condition "date=$(date -u +%Y-%m-%dT%H:%M:%SZ)" --condition "files=$([ -n "${FILES:-}" ] && echo given || echo none)"
}

# The events of an earlier run, judged by this build: each line keeps the time at which it was read.
rejudge() {
    mkdir -p "$out/events"
    cp "$REJUDGE/run.json" "$REJUDGE/steps.jsonl" "$out"
    for told in "$REJUDGE"/events/*; do
        cut -d ' ' -f 1 "$told" >"$out/arrived"
        cut -d ' ' -f 2- "$told" >"$out/told"
        "$programs/picket-agent" replay --format json --json "$out/told" >"$out/judged" 2>"$out/said" || { cat "$out/said" >&2; exit 1; }
        [ "$(wc -l <"$out/judged")" = "$(wc -l <"$out/arrived")" ] || { echo "coverage: events of $told were lost on the way" >&2; exit 1; }
        paste -d ' ' "$out/arrived" "$out/judged" >"$out/events/$(basename "$told")"
    done
    rm -f "$out/arrived" "$out/told" "$out/judged" "$out/said"
}

judge() {
    [ -e "$techniques" ] || techniques=
    "$programs/picket-coverage" judge --list "$list" --run "$out" ${techniques:+--techniques "$techniques"} --json "$out/report.json" |
        tee "$out/report.txt"
    echo "log and report: $out"
}

# The tests of the short form are ours and simple: each must have been executed and seen.
short_holds() {
    bad=$(sed -n 's/^ *\([0-9]*\) T[0-9.]* *\(-\|None\|not run\) .*/\1/p' "$out/report.txt")
    [ -z "$bad" ] || { echo "coverage: not executed or not seen: tests $bad" >&2; exit 1; }
}

if [ -n "${JUDGE:-}" ]; then
    out=$JUDGE
    judge
    exit
fi
if [ "$short" = --short ]; then
    IDLE=${IDLE:-5}
fi
out=${OUT:-$cache/coverage/runs/$(date -u +%Y%m%dT%H%M%SZ)}
mkdir -p "$out"
if [ -n "${REJUDGE:-}" ]; then rejudge; else play; fi
judge
[ "$short" != --short ] || short_holds
