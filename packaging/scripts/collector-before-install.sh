#!/bin/sh
# Before unpacking. Debian: install [OLD] | upgrade OLD. RPM: 1 to install, 2 to upgrade.
#
# A collector that comes, also back after it was removed, is started; the mark says so.
set -e

case $1 in
install | 1)
    [ ! -d /run/systemd/system ] || touch /run/picket-collector.start
    ;;
esac
