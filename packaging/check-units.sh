#!/bin/sh
# Checks the systemd units without starting any. Usage: check-units.sh
#
# Each unit is what systemd understands, with no unknown key, and its exposure, as `systemd-analyze security` counts it (0 is best),
# is not above what is written here. Prints the exposures.
set -eu

units=$(cd "$(dirname "$0")/systemd" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C NO_COLOR=1

# most UNIT: the exposure that it may have, in tenths
most() {
    case $1 in
    picket-agent) echo 53 ;;
    picket-enroll) echo 18 ;;
    picket-isolation) echo 23 ;;
    picket-collector) echo 12 ;;
    esac
}

# A root in which the programs that units start exist, so that nothing but the units is judged.
mkdir -p "$work/usr/bin" "$work/bin" "$work/usr/lib/systemd/system"
for program in usr/bin/picket-agent usr/bin/picket-collector bin/sh; do
    printf '#!/bin/sh\n' >"$work/$program"
    chmod 755 "$work/$program"
done
cp "$units"/* "$work/usr/lib/systemd/system"
wrong=0
for unit in "$units"/*; do
    systemd-analyze verify --root="$work" --man=no --recursive-errors=no "$(basename "$unit")" >"$work/said" 2>&1 || true
    if [ -s "$work/said" ]; then
        cat "$work/said" >&2
        wrong=1
    fi
done
for unit in "$units"/*.service; do
    name=$(basename "$unit" .service)
    found=$(systemd-analyze security --offline=true "$unit" | sed -n 's/.*Overall exposure level for .*: \([0-9]*\)\.\([0-9]\).*/\1\2/p')
    if [ -z "$found" ] || [ "$found" -gt "$(most "$name")" ]; then
        echo "$name: exposure $found tenths, more than $(most "$name")" >&2
        wrong=1
    fi
    echo "$name: exposure $((found / 10)).$((found % 10))"
done
exit $wrong
