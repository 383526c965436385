//! The audit system of this host, taken into use for a while: auditd, and laurel behind it if asked for.
//!
//! It runs only where nobody uses that: no daemon, no rules, audit off. Rules and settings are as before when it is dropped.
//! One thing the kernel keeps until the next boot: once audit was on, new processes are audited as a matter of form, which
//! makes their system calls slower. A rule prevents it while no daemon runs, so that "without" means what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::failure::Failure;
use crate::programs::finish;
use crate::rig::write_file;
use crate::service::Service;
use crate::wait;

/// The host's audit system, unused by others.
#[derive(Debug)]
pub(crate) struct Audit {
    auditctl: PathBuf,
    auditd: PathBuf,
    laurel: Option<PathBuf>,
    failure: String,
    backlog_limit: String,
}

/// auditd, running by rules of whoever started it.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    audit: &'a Audit,
    service: Service,
    rules: &'a [String],
    /// All processes that work for it.
    pids: Vec<u32>,
}

impl Audit {
    /// `Err` in the result: why it cannot be had here.
    pub(crate) fn take() -> Result<Result<Self, String>, Failure> {
        let (Some(auditctl), Some(auditd)) = (find("auditctl"), find("auditd")) else {
            return Ok(Err(
                "auditd is not here: apt-get install auditd laurel, then stop it".to_owned(),
            ));
        };
        let state = ask(&auditctl, &["-s"])?;
        let rules = ask(&auditctl, &["-l"])?;
        let value = |name: &str| value(&state, name).unwrap_or_default().to_owned();
        if value("enabled") != "0" || value("pid") != "0" || !rules.starts_with("No rules") {
            return Ok(Err("the audit system of this host is in use".to_owned()));
        }
        let audit = Self {
            auditctl,
            auditd,
            laurel: find("laurel"),
            failure: value("failure"),
            backlog_limit: value("backlog_limit"),
        };
        audit.control(&["-b", BACKLOG])?;
        audit.control(&NOBODY)?;
        Ok(Ok(audit))
    }

    /// Whether laurel is here.
    pub(crate) fn has_laurel(&self) -> bool {
        self.laurel.is_some()
    }

    /// Starts auditd as its package configures it, with a log in `folder`, and sets these rules.
    pub(crate) fn start<'a>(
        &'a self,
        folder: &Path,
        with_laurel: bool,
        rules: &'a [String],
    ) -> Result<Daemon<'a>, Failure> {
        let laurel = self.laurel.as_deref().filter(|_path| with_laurel);
        configure(folder, laurel)?;
        let mut command = Command::new(&self.auditd);
        command.arg("-n").arg("-c").arg(folder);
        let service = Service::start("auditd", command, &folder.join("auditd.out"))?;
        let wanted = usize::from(laurel.is_some());
        let pids = wait::until("auditd", PATIENCE, || {
            let mut pids = children(service.pid());
            let state = ask(&self.auditctl, &["-s"])?;
            let listens = value(&state, "pid") == Some(&service.pid().to_string());
            pids.push(service.pid());
            Ok((listens && pids.len() > wanted).then_some(pids))
        })?;
        let mut daemon = Daemon {
            audit: self,
            service,
            rules: &[],
            pids,
        };
        daemon.pids.extend(kernel_thread());
        self.control(&GO)?;
        for rule in rules {
            self.control(&rule.split(' ').collect::<Vec<_>>())?;
        }
        daemon.rules = rules;
        Ok(daemon)
    }

    /// Records that the kernel could not hand over so far.
    pub(crate) fn lost(&self) -> Result<u64, Failure> {
        let state = ask(&self.auditctl, &["-s"])?;
        Ok(value(&state, "lost")
            .and_then(|lost| lost.parse().ok())
            .unwrap_or_default())
    }

    fn control(&self, arguments: &[&str]) -> Result<(), Failure> {
        ask(&self.auditctl, arguments).map(drop)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        for arguments in [
            &["-e", "0"],
            &["-b", self.backlog_limit.as_str()],
            &["-f", self.failure.as_str()],
        ] {
            drop(self.control(arguments));
        }
        drop(self.control(&GO));
    }
}

impl Daemon<'_> {
    /// The processes that work for it: itself, laurel, and the kernel's thread that hands records over.
    pub(crate) fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Stops it; its rules go.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        for rule in self.rules {
            let gone = rule.replacen("-a", "-d", 1).replacen("-w", "-W", 1);
            self.audit.control(&gone.split(' ').collect::<Vec<_>>())?;
        }
        self.audit.control(&NOBODY)?;
        self.service.stop(PATIENCE).map(drop)
    }
}

/// Settings as Debian's package has them, but for the places.
fn configure(folder: &Path, laurel: Option<&Path>) -> Result<(), Failure> {
    let (place, plugins) = (folder.display(), folder.join("plugins"));
    fs::create_dir_all(&plugins).map_err(Failure::file(&plugins))?;
    let places = format!("log_file = {place}/audit.log\nplugin_dir = {place}/plugins\n");
    write_file(&folder.join("auditd.conf"), format!("{AUDITD}{places}"))?;
    let plugin = plugins.join("laurel.conf");
    let Some(laurel) = laurel else {
        // It may not be there.
        drop(fs::remove_file(&plugin));
        return Ok(());
    };
    let settings = folder.join("laurel.toml");
    write_file(
        &settings,
        format!("directory = \"{place}/laurel\"\n{LAUREL}"),
    )?;
    let run = format!(
        "path = {}\nargs = --config {}\n",
        laurel.display(),
        settings.display()
    );
    write_file(&plugin, format!("{PLUGIN}{run}"))
}

/// Where a program of an administrator is.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places
        .map(|place| place.join(name))
        .find(|file| file.is_file())
}

fn ask(auditctl: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new(auditctl);
    command.args(arguments);
    finish("auditctl", command)?.success("auditctl")
}

fn value<'a>(state: &'a str, name: &str) -> Option<&'a str> {
    state
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// The kernel's thread that hands records over.
fn kernel_thread() -> Option<u32> {
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let is_it = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "kauditd")
    };
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(is_it)
}

/// New processes are not audited at all.
const NOBODY: [&str; 2] = ["-a", "never,task"];
/// They are.
const GO: [&str; 2] = ["-d", "never,task"];
/// What the documentation of auditd recommends for busy hosts.
const BACKLOG: &str = "8192";
const AUDITD: &str = "local_events = yes\nwrite_logs = yes\nlog_format = ENRICHED\n\
    flush = INCREMENTAL_ASYNC\nfreq = 50\nmax_log_file = 8\nnum_logs = 5\npriority_boost = 4\n\
    max_log_file_action = ROTATE\nspace_left = 75\nspace_left_action = IGNORE\n\
    admin_space_left = 50\nadmin_space_left_action = IGNORE\ndisk_full_action = IGNORE\n\
    disk_error_action = IGNORE\nq_depth = 2000\noverflow_action = IGNORE\n";
const LAUREL: &str = "[auditlog]\nfile = \"audit.log\"\nsize = 5000000\ngenerations = 10\n";
const PLUGIN: &str = "active = yes\ndirection = out\ntype = always\nformat = string\n";
const PATIENCE: Duration = Duration::from_secs(20);
