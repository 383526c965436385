//! The lists of marks: by kind, names with spaces between.

/// A kind and its marks.
pub(super) type List = (&'static str, &'static str);

/// Programs, by name.
pub(super) const PROGRAMS: &[List] = &[
    (
        "accounts",
        "useradd usermod userdel groupadd groupmod groupdel adduser deluser addgroup delgroup \
         passwd chpasswd newusers gpasswd chage visudo vipw vigr pwconv chsh chfn faillock \
         pam-auth-update authselect authconfig",
    ),
    (
        "start",
        "crontab at atd batch anacron systemctl systemd-run update-rc.d chkconfig service \
         rc-update rc-service initctl loginctl insserv",
    ),
    (
        "defences",
        "iptables ip6tables iptables-restore iptables-save nft ufw firewall-cmd ebtables \
         setenforce getenforce sestatus semanage setsebool auditctl auditd augenrules \
         ausearch aureport rsyslogd syslog-ng journalctl apparmor_parser aa-teardown \
         aa-disable aa-status aa-complain logger fail2ban-client clamscan freshclam rkhunter \
         chkrootkit aide",
    ),
    ("traces", "history shred wipe srm unset lastlog"),
    (
        "secrets",
        "unshadow john hashcat hydra medusa gcore gdb strace ltrace strings tcpdump tshark \
         dumpcap keyctl secret-tool klist kinit ssh-keygen ssh-add ssh-agent getpcaps \
         ssh-copy-id pass ldapsearch update-ca-certificates",
    ),
    (
        "capture",
        "script xwd scrot xclip xsel xinput arecord showkey logkeys wl-paste",
    ),
    (
        "look",
        "whoami id who w users last lastb hostname hostnamectl domainname uname arch lscpu \
         lspci lsusb lsblk lshw dmidecode dmesg lsmod modinfo env printenv groups getent \
         ifconfig ip iwconfig route arp netstat ss nmap nping masscan arp-scan ping \
         traceroute tracepath host nslookup dig whois showmount rpcinfo smbclient nmblookup \
         systemd-detect-virt virt-what localectl locale timedatectl lsof ps pstree pgrep top \
         fuser findmnt mount df uptime compgen tty finger nproc free stat lsattr getfacl \
         locate",
    ),
    (
        "privilege",
        "su sudo doas pkexec runuser setcap getcap capsh unshare nsenter chroot insmod \
         modprobe rmmod depmod kmod sysctl chown chgrp ldconfig bpftool kexec",
    ),
    (
        "transfer",
        "curl wget scp sftp ftp tftp nc ncat netcat socat telnet rsync aria2c lynx ssh \
         sshpass rclone torsocks proxychains tor openvpn wg chisel mail sendmail",
    ),
    (
        "encode",
        "base64 base32 xxd uuencode uudecode openssl gpg hexdump od zip unzip 7z 7za rar tar \
         gzip bzip2 xz ccrypt age steghide rev split",
    ),
    (
        "interpreter",
        "python python2 python3 perl ruby php node lua tclsh gawk bash sh dash zsh ksh ash \
         fish busybox exec eval source gcc cc clang make go rustc",
    ),
    (
        "container",
        "docker podman kubectl crictl ctr runc lxc virsh qemu-img aws gcloud gsutil az \
         terraform ansible",
    ),
    (
        "impact",
        "dd mkfs shutdown reboot halt poweroff init telinit kill killall pkill stress yes \
         fdisk wipefs cryptsetup swapoff swapon ulimit truncate fallocate",
    ),
    (
        "package",
        "apt apt-get apt-key dpkg yum dnf rpm zypper apk pacman pip pip3 gem npm snap flatpak",
    ),
    (
        "change",
        "chattr setfacl touch ln tee sed install mknod mkfifo mktemp umask rm mv chmod",
    ),
];

/// Variables of the environment.
pub(super) const VARIABLES: &[List] = &[
    (
        "traces",
        "HISTFILE HISTSIZE HISTFILESIZE HISTCONTROL HISTIGNORE PROMPT_COMMAND",
    ),
    ("privilege", "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT"),
];

/// Files, by name, wherever they lie.
pub(super) const FILES: &[List] = &[
    (
        "traces",
        "wtmp btmp utmp auth.log secure lastlog .bash_history .zsh_history",
    ),
    (
        "file of secrets",
        "id_rsa id_dsa id_ecdsa id_ed25519 authorized_keys known_hosts krb5.keytab .netrc \
         .pgpass .git-credentials credentials .my.cnf .htpasswd logins.json key4.db",
    ),
];

/// Beginnings of paths.
pub(super) const PATHS: &[List] = &[
    (
        "file of accounts",
        "/etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/sudoers /etc/security \
         /etc/login.defs /etc/pam /etc/nsswitch /etc/doas.conf /etc/polkit-1 /lib/security",
    ),
    (
        "file of start",
        "/etc/cron /etc/anacron /var/spool/cron /var/spool/at /etc/init /etc/rc /etc/systemd \
         /lib/systemd /usr/lib/systemd /etc/profile /etc/bash /etc/update-motd.d /etc/udev \
         /etc/modules /etc/ld.so /etc/xdg /etc/environment",
    ),
    (
        "log",
        "/var/log /var/run/utmp /etc/audit /etc/rsyslog /etc/syslog /etc/logrotate",
    ),
    (
        "file of secrets",
        "/etc/ssh /etc/krb5 /tmp/krb5cc /etc/ssl /usr/share/ca-certificates \
         /usr/local/share/ca-certificates /var/run/secrets",
    ),
    (
        "file of the host",
        "/etc/os-release /etc/issue /etc/hosts /etc/resolv.conf /etc/hostname /etc/machine-id \
         /etc/fstab /etc/mtab /etc/selinux /etc/apparmor /etc/sysconfig /etc/default /etc/yum \
         /etc/apt /etc/redhat-release /etc/lsb-release /proc/version /proc/cpuinfo /proc/net \
         /proc/modules",
    ),
    ("settings", "/etc/"),
    (
        "kernel",
        "/proc/ /sys/ /boot/ /lib/modules /dev/mem /dev/kmem",
    ),
    (
        "device",
        "/dev/tcp /dev/udp /dev/sd /dev/vd /dev/nvme /dev/zero /dev/random /dev/urandom \
         /dev/input",
    ),
    (
        "state of the system",
        "/var/spool /var/mail /var/lib /var/cache /var/run /run/ /var/backups /var/www",
    ),
    ("home of root", "/root"),
    ("open place", "/tmp /var/tmp /dev/shm /run/user"),
    (
        "programs",
        "/bin /sbin /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin /opt",
    ),
];

/// Files and directories of a home, from the first component that begins with a dot.
pub(super) const DOTTED: &[List] = &[
    (
        "file of start",
        ".config/systemd .config/autostart .bashrc .bash_profile .bash_login .bash_logout \
         .profile .zshrc .zprofile .xinitrc .xsession",
    ),
    (
        "log",
        ".bash_history .zsh_history .python_history .viminfo .lesshst",
    ),
    (
        "file of secrets",
        ".ssh .gnupg .aws .azure .kube .docker .netrc .mozilla .config/google-chrome \
         .local/share/keyrings",
    ),
];
