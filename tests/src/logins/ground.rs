//! The accounts and services of the ground. All of it is in the overlay and goes away with it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::plan::{Session, Way};
use crate::failure::Failure;
use crate::programs::finish;
use crate::wait;

/// Everybody's password, and it as `/etc/shadow` has it: few rounds, since a thousand sessions ask for it.
pub(super) const PASSWORD: &str = "correct horse";
const HASH: &str = "$6$rounds=1000$picket$WoA6v3kH/MX09Pecf1Fh68NLcaHmyUpcG3IS.FJVPhcmrBQ1SvLCp0ugj76kNyiF84enigk3u7JRmLPRP2GSE/";
/// The key that everybody has.
pub(super) const KEY: &str = "/root/picket-key";
/// Prints the password in `PICKET_PASSWORD`, for ssh.
pub(super) const ASKPASS: &str = "/run/picket-askpass";

const SSHD: &str = "
ListenAddress 127.0.0.1
HostKey /etc/ssh/picket-host-key
AuthorizedKeysFile /etc/ssh/picket-authorized
UsePAM yes
PrintMotd no
MaxStartups 200
LogLevel INFO
DenyGroups picket-denied
";
/// As Debian has it: journald takes what is said and hands it on. It must not change whether the kernel audits: that is the host's.
const JOURNALD: &str = "
[Journal]
Storage=persistent
ForwardToSyslog=yes
ReadKMsg=no
Audit=
RateLimitBurst=0
";
const RSYSLOG: &str = "
module(load=\"imuxsock\" SysSock.Name=\"/run/systemd/journal/syslog\")
auth,authpriv.* /var/log/auth.log
";
const SSHD_USER: &str = "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n";
const DENIED: u32 = 60_000;
const USERS: u32 = 100;
const FIRST_USER: usize = 20_000;

/// What runs.
#[derive(Debug)]
pub(super) struct Ground {
    services: Vec<Child>,
    journald: Pid,
    rsyslogd: Pid,
}

/// What becomes of the logs while people log in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    /// The journal moves from memory to disk.
    Flush,
    /// Journal and authentication log are rotated.
    Rotate,
}

/// When cron's jobs are done.
#[derive(Debug)]
pub(super) struct Due(Option<Instant>);

impl Due {
    pub(super) fn wait(self) {
        if let Some(instant) = self.0 {
            wait::pause(instant.saturating_duration_since(Instant::now()));
        }
    }
}

impl Ground {
    /// Makes the accounts and starts syslog and sshd.
    pub(super) fn lay(sessions: &[Session]) -> Result<Self, Failure> {
        if std::env::var_os("PICKET_GROUND").is_none() {
            return Err(Failure::Unexpected {
                what: "the ground".to_owned(),
                text: "there is none: run `make test-logins`".to_owned(),
            });
        }
        accounts(sessions)?;
        for log in ["wtmp", "btmp", "lastlog", "auth.log"] {
            let path = Path::new("/var/log").join(log);
            File::create(&path).map_err(Failure::file(&path))?;
        }
        fs::create_dir_all("/run/sshd").map_err(Failure::file("/run/sshd"))?;
        File::create("/run/utmp").map_err(Failure::file("/run/utmp"))?;
        write("/etc/ssh/picket-sshd", SSHD, 0o600)?;
        write("/run/picket-rsyslog", RSYSLOG, 0o600)?;
        write(
            ASKPASS,
            "#!/bin/sh\nprintf '%s\\n' \"$PICKET_PASSWORD\"\n",
            0o755,
        )?;
        keygen("/etc/ssh/picket-host-key")?;
        keygen(KEY)?;
        let public = fs::read_to_string(format!("{KEY}.pub")).map_err(Failure::file(KEY))?;
        write("/etc/ssh/picket-authorized", &public, 0o644)?;
        let journald = start_journald()?;
        let services = vec![
            service(
                "/usr/sbin/rsyslogd",
                &[
                    "-n",
                    "-f",
                    "/run/picket-rsyslog",
                    "-i",
                    "/run/picket-rsyslog.pid",
                ],
            )?,
            service("/usr/sbin/sshd", &["-D", "-f", "/etc/ssh/picket-sshd"])?,
        ];
        wait::until("sshd's port", Duration::from_secs(10), || {
            Ok(std::net::TcpStream::connect("127.0.0.1:22").ok())
        })?;
        let rsyslogd = Pid::from_child(&services[0]);
        Ok(Self {
            journald: Pid::from_child(&journald),
            services: services.into_iter().chain([journald]).collect(),
            rsyslogd,
        })
    }

    /// Does to the logs what a host does to them.
    pub(super) fn turn(&self, turn: Turn) -> Result<(), Failure> {
        let signal = |pid, signal| {
            kill_process(pid, signal).map_err(|error| Failure::Run {
                what: "a turn of the logs".to_owned(),
                source: error.into(),
            })
        };
        match turn {
            Turn::Flush => signal(self.journald, Signal::USR1),
            Turn::Rotate => {
                let renamed = fs::rename("/var/log/auth.log", "/var/log/auth.log.1");
                renamed.map_err(Failure::file("/var/log/auth.log"))?;
                signal(self.rsyslogd, Signal::HUP)?;
                signal(self.journald, Signal::USR2)
            }
        }
    }

    /// Starts cron with one job for each of its sessions, all in the minute after the next half.
    pub(super) fn start_cron(&mut self, sessions: &[Session]) -> Result<Due, Failure> {
        let jobs: Vec<&Session> = sessions
            .iter()
            .filter(|session| session.way == Way::Cron)
            .collect();
        if jobs.is_empty() {
            return Ok(Due(None));
        }
        let mut date = Command::new("date");
        date.args(["-d", "+30 sec +1 min", "+%M %H %d %m %S"]);
        let text = finish("date", date)?.success("date")?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, second] = words.as_slice() else {
            return Err(Failure::Unexpected {
                what: "date".to_owned(),
                text,
            });
        };
        let past: u64 = second.parse().unwrap_or(0);
        let lines = jobs.iter().map(|session| {
            format!(
                "{minute} {hour} {day} {month} * {} /bin/true {}\n",
                session.user,
                session.mark()
            )
        });
        // The distribution's own jobs are sessions too, of nobody in the play.
        write("/etc/crontab", "", 0o644)?;
        for job in fs::read_dir("/etc/cron.d").into_iter().flatten().flatten() {
            fs::remove_file(job.path()).map_err(Failure::file(job.path()))?;
        }
        write("/etc/cron.d/picket", &lines.collect::<String>(), 0o644)?;
        self.services.push(service("/usr/sbin/cron", &["-f"])?);
        Ok(Due(Some(
            Instant::now() + Duration::from_secs(90 - past + 8),
        )))
    }

    /// Stops the services.
    pub(super) fn clear(mut self) -> Result<(), Failure> {
        for service in &mut self.services {
            let stopped = service.kill().and_then(|()| service.wait());
            stopped.map_err(|source| Failure::Run {
                what: "a service".to_owned(),
                source,
            })?;
        }
        Ok(())
    }
}

/// It begins in memory, as at boot, until it is told that the disk is there.
fn start_journald() -> Result<Child, Failure> {
    let folder = "/run/systemd/journal";
    fs::create_dir_all(folder).map_err(Failure::file(folder))?;
    fs::create_dir_all("/var/log/journal").map_err(Failure::file("/var/log/journal"))?;
    write("/etc/systemd/journald.conf", JOURNALD, 0o644)?;
    let machine = "/etc/machine-id";
    if fs::read_to_string(machine).unwrap_or_default().trim().len() != 32 {
        write(machine, "00000000000000000000000000001cce\n", 0o444)?;
    }
    let journald = service("/lib/systemd/systemd-journald", &[])?;
    let socket = Path::new(folder).join("dev-log");
    wait::until("journald's socket", Duration::from_secs(10), || {
        Ok(socket.exists().then_some(()))
    })?;
    std::os::unix::fs::symlink(&socket, "/dev/log").map_err(Failure::file("/dev/log"))?;
    Ok(journald)
}

fn accounts(sessions: &[Session]) -> Result<(), Failure> {
    let exist = || {
        sessions
            .iter()
            .filter(|session| session.way != Way::InvalidUser)
    };
    let passwd = exist().map(|session| {
        let number = FIRST_USER + session.number;
        let is_denied = session.way == Way::Denied;
        let group = if is_denied { DENIED } else { USERS };
        format!("{}:x:{number}:{group}::/tmp:/bin/sh\n", session.user)
    });
    let shadow = exist().map(|session| {
        let has_expired = session.way == Way::Expired;
        let expires = if has_expired { "1" } else { "" };
        format!("{}:{HASH}:20000:0:99999:7::{expires}:\n", session.user)
    });
    let sudoers = exist().filter_map(|session| {
        let how = match session.way {
            Way::Sudo => "NOPASSWD: ALL",
            Way::SudoWrong => "ALL",
            _ => return None,
        };
        Some(format!("{} ALL=(ALL) {how}\n", session.user))
    });
    append(
        "/etc/passwd",
        &format!("{SSHD_USER}{}", passwd.collect::<String>()),
    )?;
    append("/etc/shadow", &shadow.collect::<String>())?;
    append("/etc/group", &format!("picket-denied:x:{DENIED}:\n"))?;
    write("/etc/sudoers.d/picket", &sudoers.collect::<String>(), 0o440)
}

fn append(path: &str, text: &str) -> Result<(), Failure> {
    let file = File::options().append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(Failure::file(path))
}

fn write(path: &str, text: &str, mode: u32) -> Result<(), Failure> {
    let written = fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, PermissionsExt::from_mode(mode)));
    written.map_err(Failure::file(path))
}

fn keygen(path: &str) -> Result<(), Failure> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-f", path]);
    finish("ssh-keygen", command)?
        .success("ssh-keygen")
        .map(drop)
}

fn service(program: &str, arguments: &[&str]) -> Result<Child, Failure> {
    let log = Path::new("/run").join(format!(
        "picket-{}.log",
        program.rsplit('/').next().unwrap_or(program)
    ));
    let file = File::create(&log).map_err(Failure::file(&log))?;
    let run = |source| Failure::Run {
        what: program.to_owned(),
        source,
    };
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .map_err(run)
}
