# What every recorded host has: its clock, its addresses, its people, the work of its administrators, an upgrade.
#
# A role's script follows in the same shell and ends with `week </dev/null`. It gives: prepare, night, work, visit DAY, upgraded (packages).
#
# - The machine's own clock is set forward from one part of a day to the next, so timers, logs and logins have the times of a week that
#   passes in minutes. Timers of systemd that were due on the way fire then, as they do after a sleep.
# - What this shell and its children do is the hand that plays, no part of the recording: people come in by sshd, services and jobs by
#   systemd and cron.
# - Nothing here knows any test of attacks.

DAYS=${DAYS:-8}
FIRST=$(date -u -d tomorrow +%F)
HOME_NET=10.20.0
RANDOM=${SEED:-11}

# at DAY TIME: it is then.
at() {
    date -u -s "$(date -u -d "$FIRST + $1 days" +%F) $2" >/dev/null
    systemctl restart cron 2>/dev/null # it would wait for the minute that it had in mind
}

# pick COUNT LINE...: so many of the lines, drawn.
pick() {
    local count=$1
    shift
    printf '%s\n' "$@" | shuf -n "$count" --random-source=<(yes "$RANDOM$RANDOM")
}

# visit_as USER ADDRESS: a session over the network in a terminal; what is typed comes from standard input, a line at each prompt.
visit_as() {
    { cat; echo exit; } | expect /root/type.exp ssh -q -b "$HOME_NET.$2" -i "/root/keys/$1" -o StrictHostKeyChecking=no "$1@$HOME_NET.2" \
        >>"/tmp/$1.log" 2>&1 || true
}

# refused USER ADDRESS: somebody mistypes.
refused() {
    SSHPASS=wrong timeout 60 sshpass -e ssh -q -b "$HOME_NET.$2" -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1 -o StrictHostKeyChecking=no \
        "$1@$HOME_NET.2" true >/dev/null 2>&1 || true
}

person() { # NAME [GROUP]
    id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$1"
    [ -z "${2:-}" ] || usermod -aG "$2" "$1"
    echo "$1:$(head -c 9 /dev/urandom | base64)" | chpasswd
    mkdir -p /root/keys "/home/$1/.ssh"
    ssh-keygen -q -t ed25519 -N '' -f "/root/keys/$1"
    cp "/root/keys/$1.pub" "/home/$1/.ssh/authorized_keys"
    chown -R "$1:" "/home/$1/.ssh"
    chmod 700 "/home/$1/.ssh"
}

# job NAME CALENDAR USER: a timer and its service; the script comes from standard input.
job() {
    cat >"/usr/local/bin/$1"
    chmod 755 "/usr/local/bin/$1"
    printf '[Service]\nType=oneshot\nUser=%s\nExecStart=/usr/local/bin/%s\n' "$3" "$1" >"/etc/systemd/system/$1.service"
    printf '[Timer]\nOnCalendar=%s\nAccuracySec=1s\n[Install]\nWantedBy=timers.target\n' "$2" >"/etc/systemd/system/$1.timer"
}

# newer PACKAGE: a package file of the same content with a higher version.
newer() {
    (
        mkdir -p /root/packages /root/repack
        cd /root/repack || exit
        dpkg-repack "$1" >/dev/null 2>&1
        dpkg-deb -R "$1"_*.deb tree
        sed -i 's/^\(Version: .*\)/\1+u1/' tree/DEBIAN/control
        dpkg-deb -b tree "/root/packages/$1.deb" >/dev/null 2>&1
        rm -rf /root/repack
    )
    cp "/root/packages/$1.deb" /srv/ 2>/dev/null
}

everybody() {
    cat >/root/type.exp <<'S'
set timeout 60
set lines [split [read stdin] "\n"]
spawn -noecho {*}$argv
foreach line $lines {
    if {$line eq ""} continue
    expect -re {[$#] $}
    send -- "$line\r"
}
expect eof
S
    for number in 2 11 12 13 40 41 42 77; do
        ip addr add "$HOME_NET.$number/24" dev lo 2>/dev/null
    done
    groupadd -f admins
    echo '%admins ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/admins
    chmod 440 /etc/sudoers.d/admins
    person alex admins
    person maria admins
    person deploy
    echo '* * * * * root /usr/local/bin/health >>/var/log/health.log 2>&1' >/etc/cron.d/health
    cat >/usr/local/bin/health <<'S'
#!/bin/sh
date -u +%FT%TZ
df --output=pcent / | tail -n 1
awk '/MemAvailable/ { print $2 }' /proc/meminfo
systemctl is-failed --quiet ssh && logger -p daemon.err "ssh has failed"
exit 0
S
    chmod 755 /usr/local/bin/health
    for package in logrotate $(upgraded); do
        newer "$package"
    done
}

# What administrators look at.
LOOKS=(
    'uptime' 'w' 'df -h' 'free -m' 'who' 'last -n 5' 'ps aux --sort=-%cpu | head -n 5' 'top -b -n 1 | head -n 12' 'vmstat 1 2' 'ip -br addr' 'ss -tln' 'sudo ss -tlnp'
    'tail -n 20 /var/log/syslog' 'sudo tail -n 50 /var/log/auth.log | grep -c Accepted' 'sudo journalctl -n 30 --no-pager | tail -n 5' 'sudo journalctl -u ssh --since today --no-pager | tail -n 3'
    'systemctl list-timers --no-pager | head -n 5' 'systemctl --failed --no-pager' 'sudo systemctl status cron --no-pager | head -n 5' 'ls -la /etc/cron.d' 'cat /etc/os-release | head -n 2'
    'sudo du -sh /var/log' 'ls -lt /var/log | head' 'id' 'groups' 'crontab -l' 'dpkg -l | grep -c ^ii' 'apt list --installed 2>/dev/null | wc -l' 'uname -a' 'hostname' 'env | sort | head -n 3'
    'sudo find /var/log -name "*.gz" -mtime -7 | wc -l' 'grep -c processor /proc/cpuinfo' 'sudo lsof -i -P -n | head -n 5' 'date' 'cat /etc/hosts' 'mount | head -n 5' 'sudo dmesg | tail -n 3' 'stat /etc/passwd'
)

# One day's visit of an administrator: looks, and the day's own affair.
administrator() {
    local name=$1 address=$2 affair=$3
    { pick 7 "${LOOKS[@]}"; printf '%s\n' "$affair"; pick 2 "${LOOKS[@]}"; } | visit_as "$name" "$address"
}

# The affairs of a week that are no attack, though seldom: DAY -> what is typed.
affair() {
    case $1 in
    1) echo 'sudo sed -i "s/^#*ClientAliveInterval.*/ClientAliveInterval 300/" /etc/ssh/sshd_config && sudo sshd -t && sudo systemctl reload ssh' ;;
    2) echo 'echo "0 5 * * 1 /usr/bin/find /tmp -mtime +7 -delete" | crontab -' ;;
    3) printf '%s\n' 'sudo adduser --disabled-password --gecos "" jonas' 'sudo usermod -aG admins jonas' \
        "sudo sh -c 'mkdir -p /home/jonas/.ssh && cp /home/alex/.ssh/authorized_keys /home/jonas/.ssh/ && chown -R jonas: /home/jonas/.ssh && chmod 700 /home/jonas/.ssh'" ;;
    4) echo 'sudo timeout 5 tcpdump -i lo -c 20 -w /tmp/slow.pcap port 22; ls -l /tmp/slow.pcap; sudo rm /tmp/slow.pcap' ;;
    5) printf '%s\n' "sudo apt-get install -y /srv/logrotate.deb $(upgraded | sed 's|[^ ][^ ]*|/srv/&.deb|g') >/tmp/upgrade.log 2>&1; tail -n 2 /tmp/upgrade.log" 'sudo systemctl daemon-reload' ;;
    6) printf '%s\n' 'sudo strace -c -f -p $(pgrep -o rsyslogd) -o /tmp/trace.txt & sleep 3; sudo pkill strace' 'python3 -c "import json,sys; print(json.dumps({\"ok\": True}))"' 'sudo gpasswd -d jonas admins' ;;
    7) printf '%s\n' 'openssl rand -hex 16 >~/token; chmod 600 ~/token; shred -u ~/token' 'tar czf ~/notes.tgz ~/.bashrc ~/.profile; sha256sum ~/notes.tgz' 'sudo logrotate -f /etc/logrotate.conf' ;;
    esac
}

week() {
    everybody
    prepare
    systemctl daemon-reload
    systemctl enable --quiet --now $(cd /etc/systemd/system && ls *.timer) 2>/dev/null
    local day
    for day in $(seq 0 $((DAYS - 1))); do
        echo "day $day" >&2
        at "$day" 00:00:20
        night "$day"
        sleep 8
        at "$day" 09:12:00
        administrator alex 11 "$(affair "$day")"
        visit "$day"
        at "$day" 14:31:00
        work "$day"
        [ $((day % 3)) != 1 ] || administrator maria 12 'sudo -l'
        [ $((day % 4)) != 2 ] || refused maria 12
        sleep 2
    done
}
