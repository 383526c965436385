#!/bin/sh
# After unpacking. Debian: configure [OLD] | abort-... . RPM: 1 to install, 2 to upgrade.
#
# - A collector that runs goes on until its files are in place, and is started anew then. Nothing runs before `picket-collector init`.
# - The unit is enabled once, when the package comes: an administrator who disabled it is obeyed.
set -e

unit=picket-collector.service

case $1 in
configure | abort-upgrade | abort-remove | abort-deconfigure | 1 | 2) ;;
*) exit 0 ;;
esac
if command -v systemd-sysusers >/dev/null 2>&1; then
    systemd-sysusers picket-collector.conf
    [ ! -e /proc/self ] || systemd-tmpfiles --create picket-collector.conf # in a bare root: at its first boot
fi
command -v systemctl >/dev/null 2>&1 || exit 0
case "$1 ${2:-}" in
'configure ' | '1 '*) systemctl --quiet enable $unit ;;
esac
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
if systemctl --quiet is-active $unit; then
    systemctl restart $unit
elif [ -e /run/picket-collector.start ] && systemctl --quiet is-enabled $unit; then
    if command -v deb-systemd-invoke >/dev/null 2>&1; then
        deb-systemd-invoke start $unit >/dev/null
    else
        systemctl start $unit
    fi
fi
rm -f /run/picket-collector.start
