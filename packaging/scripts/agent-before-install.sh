#!/bin/sh
# Before unpacking. Debian: install [OLD] | upgrade OLD. RPM: 1 to install, 2 to upgrade.
#
# An agent that protects itself refuses to be replaced while it runs, so it is stopped. The mark says that it is to be started.
set -e

[ -d /run/systemd/system ] || exit 0
case $1 in
install | 1)
    touch /run/picket-agent.start
    ;;
upgrade | 2)
    if systemctl --quiet is-active picket-agent.service; then
        touch /run/picket-agent.start
        systemctl stop picket-agent.service
    fi
    ;;
esac
