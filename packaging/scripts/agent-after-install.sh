#!/bin/sh
# After unpacking. Debian: configure [OLD] | abort-... . RPM: 1 to install, 2 to upgrade.
#
# - Nothing runs before this host is enrolled; what ran before an upgrade runs again.
# - Units are enabled once, when the package comes: what an administrator disabled stays so.
set -e

paths="picket-agent.path picket-enroll.path"
mark=/run/picket-agent.start

# Starts what is enabled, if a policy (Debian's policy-rc.d) lets us.
start() {
    if command -v deb-systemd-invoke >/dev/null 2>&1; then
        deb-systemd-invoke start "$@" >/dev/null
    else
        for unit; do
            ! systemctl --quiet is-enabled "$unit" || systemctl start "$unit"
        done
    fi
}

case $1 in
configure | abort-upgrade | abort-remove | abort-deconfigure | 1 | 2) ;;
*) exit 0 ;;
esac
if command -v systemd-sysusers >/dev/null 2>&1; then
    systemd-sysusers picket-agent.conf
    [ ! -e /proc/self ] || systemd-tmpfiles --create picket-agent.conf # in a bare root: at its first boot
fi
command -v systemctl >/dev/null 2>&1 || exit 0
case "$1 ${2:-}" in
'configure ' | '1 '*) systemctl --quiet enable picket-agent.service picket-isolation.service $paths ;;
esac
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
start $paths
if [ -e "$mark" ]; then
    start picket-agent.service
    rm -f "$mark"
fi
