#!/bin/sh
# After the files are gone. Debian: remove | purge | ... . RPM: 0 to erase, 1 to upgrade.
#
# Removing keeps identity, keys, spool and settings. Purging, which only Debian knows, removes them all.
set -e

wants=/etc/systemd/system

if [ "$1" = purge ]; then
    rm -rf /var/lib/picket /run/picket /etc/picket/rules.d
    rm -f /etc/picket/enroll.toml /etc/picket/enroll.toml.refused /run/picket-agent.start
    rm -f $wants/multi-user.target.wants/picket-agent.service $wants/paths.target.wants/picket-agent.path $wants/paths.target.wants/picket-enroll.path $wants/sysinit.target.wants/picket-isolation.service
    rmdir --ignore-fail-on-non-empty $wants/paths.target.wants $wants/sysinit.target.wants /etc/picket 2>/dev/null || true # either may be gone
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
