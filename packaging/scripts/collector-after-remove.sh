#!/bin/sh
# After the files are gone. Debian: remove | purge | ... . RPM: 0 to erase, 1 to upgrade.
#
# Removing keeps the authority, the evidence and the settings. Purging, which only Debian knows, removes them all.
set -e

if [ "$1" = purge ]; then
    rm -rf /var/lib/picket-collector
    rm -f /run/picket-collector.start /etc/systemd/system/multi-user.target.wants/picket-collector.service
    rmdir --ignore-fail-on-non-empty /etc/picket 2>/dev/null || true # it may be gone
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
