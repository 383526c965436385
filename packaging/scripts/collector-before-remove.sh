#!/bin/sh
# Before the files go. Debian: remove | upgrade NEW | ... . RPM: 0 to erase, 1 to upgrade.
#
# Debian keeps the unit enabled until it is purged, as it keeps settings; RPM has no such end, so it is disabled here.
set -e

case $1 in
remove | 0)
    command -v systemctl >/dev/null 2>&1 || exit 0
    [ ! -d /run/systemd/system ] || systemctl stop picket-collector.service
    ;;
esac
if [ "$1" = 0 ]; then
    systemctl --quiet disable picket-collector.service
fi
