#!/bin/sh
# Before the files go. Debian: remove | upgrade NEW | ... . RPM: 0 to erase, 1 to upgrade.
#
# - Where the agent's settings protect the package it goes only while operators allow it (exit code 3 of the agent); anything else that
#   is wrong with the agent keeps nobody from removing it. What replaces the package is no removal.
# - Debian keeps the units enabled until they are purged, as it keeps settings; RPM has no such end, so they are disabled here.
set -e

case $1 in
remove | 0)
    if [ -x /usr/bin/picket-agent ]; then
        answer=0
        /usr/bin/picket-agent removal --check --tell >&2 || answer=$?
        [ $answer != 3 ] || exit 1
    fi
    command -v systemctl >/dev/null 2>&1 || exit 0
    [ ! -d /run/systemd/system ] || systemctl stop picket-enroll.path picket-agent.path picket-enroll.service picket-agent.service
    ;;
esac
if [ "$1" = 0 ]; then
    systemctl --quiet disable picket-agent.service picket-isolation.service picket-agent.path picket-enroll.path
fi
