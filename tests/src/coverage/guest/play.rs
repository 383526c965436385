//! One test in the guest: what it needs, its programs under other names if that is asked for, the test, what undoes it.
//!
//! What stays true: every script has a shell, a session and a control group of its own; whatever is left of it is killed by its group.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use picket_event::{BootId, ProcessUid};

use super::agent::Agent;
use super::port::Port;
use super::{Play, USER, USER_ID};
use crate::coverage::launch::{Launch, PATH};
use crate::coverage::list::Dependency;
use crate::coverage::record::{Met, Outcome, Played, Variant};
use crate::coverage::words;
use crate::failure::Failure;
use crate::wait;

/// Runs it. What the machine may not survive is told beforehand as `began`.
pub(super) fn run(agent: &mut Agent, port: &mut Port, play: &Play) -> Result<Played, Failure> {
    let test = &play.test;
    let mut stage = Stage::new(play)?;
    agent.pass_on(play.most_events);
    stage.played.dependencies = stage.meet(&test.dependencies)?;
    if test.needs_atomics_src && !has_files() {
        stage.played.dependencies.push(Met {
            description: "the files that come with the tests (FILES=DIR)".to_owned(),
            ..Met::default()
        });
    }
    stage.played.programs = find_programs(&test.command);
    let prelude = stage.rename(play)?;
    let ready = stage.played.dependencies.iter().all(|met| met.met)
        && matches!(test.executor.as_str(), "sh" | "bash");
    if ready {
        agent.settle();
        let script = format!("{prelude}{}\n", test.command);
        stage.test(agent, port, &script)?;
    }
    stage.played.agent_ended = agent.ended();
    stage.played.dropped = agent.dropped();
    Ok(stage.played)
}

/// Where the scripts of one test run.
struct Stage<'a> {
    play: &'a Play,
    boot: BootId,
    user: u32,
    home: PathBuf,
    count: u32,
    played: Played,
}

/// A shell that runs.
struct Shell {
    child: Child,
    uid: String,
    launch: Launch,
}

impl<'a> Stage<'a> {
    fn new(play: &'a Play) -> Result<Self, Failure> {
        let path = "/proc/sys/kernel/random/boot_id";
        let text = std::fs::read_to_string(path).map_err(Failure::file(path))?;
        let unexpected = |error: picket_event::IdError| Failure::Unexpected {
            what: path.to_owned(),
            text: error.to_string(),
        };
        let root = play.test.elevation_required;
        let home = if root {
            "/root".to_owned()
        } else {
            format!("/home/{USER}")
        };
        Ok(Self {
            play,
            boot: BootId::parse(text.trim()).map_err(unexpected)?,
            user: if root { 0 } else { USER_ID },
            played: Played {
                home: home.clone(),
                ..Played::default()
            },
            home: home.into(),
            count: 0,
        })
    }

    fn meet(&mut self, dependencies: &[Dependency]) -> Result<Vec<Met>, Failure> {
        dependencies.iter().map(|one| self.meet_one(one)).collect()
    }

    /// Asks; if it is not there, the test's user gets it, then root.
    fn meet_one(&mut self, wanted: &Dependency) -> Result<Met, Failure> {
        let told = |met, by: &str| Met {
            description: wanted.description.clone(),
            met,
            by: by.to_owned(),
        };
        if self.has(wanted)? {
            return Ok(told(true, "nobody"));
        }
        let get = wanted.get_prereq.as_deref().unwrap_or_default();
        for (user, name) in [(self.user, "the test's user"), (0, "root")] {
            if get.trim().is_empty() {
                break;
            }
            self.aside("dependency", get, user)?;
            if self.has(wanted)? {
                return Ok(told(true, name));
            }
        }
        Ok(told(false, ""))
    }

    fn has(&mut self, wanted: &Dependency) -> Result<bool, Failure> {
        let outcome = self.aside("dependency", &wanted.prereq, self.user)?;
        Ok(outcome.exit == Some(0))
    }

    /// Copies of the programs under other names, and what makes the script call them.
    fn rename(&mut self, play: &Play) -> Result<String, Failure> {
        if play.variant != Variant::Renamed {
            return Ok(String::new());
        }
        let names = words::new_names(&self.played.programs, play.seed);
        for (old, new) in &names {
            let from = self
                .played
                .programs
                .get(old)
                .map_or_else(|| Path::new(old), PathBuf::as_path);
            let to = Path::new(COPIES).join(new);
            std::fs::copy(from, &to).map_err(Failure::file(&to))?;
            let mode = std::fs::metadata(from)
                .map_err(Failure::file(from))?
                .permissions()
                .mode();
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&to, mode).map_err(Failure::file(&to))?;
        }
        let prelude = words::prelude(&play.test.executor, COPIES, &names);
        self.played.renamed = names;
        Ok(prelude)
    }

    fn test(&mut self, agent: &mut Agent, port: &Port, script: &str) -> Result<(), Failure> {
        self.played.began = agent.now();
        let shell = self.start(script, self.user)?;
        self.played.root = Some(shell.uid.clone());
        port.say("began", &self.played)?;
        let (shell, outcome) = self.wait(shell, self.play.test.limit())?;
        self.played.ended = agent.now();
        self.played.outcome = outcome;
        self.played.settled = agent.settle();
        if let Some(cleanup) = self.play.test.cleanup() {
            self.played.cleanup = Some(self.aside("cleanup", cleanup, self.user)?);
        }
        end(&shell);
        Ok(())
    }

    /// A script that is not the test.
    fn aside(&mut self, why: &str, script: &str, user: u32) -> Result<Outcome, Failure> {
        let shell = self.start(&format!("{script}\n"), user)?;
        self.played.others.insert(shell.uid.clone(), why.to_owned());
        let (shell, outcome) = self.wait(shell, ASIDE)?;
        // What it left in the background, as some tests need it, goes with the machine.
        drop(shell);
        Ok(outcome)
    }

    fn start(&mut self, script: &str, user: u32) -> Result<Shell, Failure> {
        self.count += 1;
        let folder = PathBuf::from(format!("/run/steps/{}", self.count));
        let cgroup = PathBuf::from(format!("/sys/fs/cgroup/user.slice/shell-{}", self.count));
        for path in [&folder, &cgroup] {
            std::fs::create_dir_all(path).map_err(Failure::file(path))?;
        }
        let path = folder.join("in");
        std::fs::write(&path, script).map_err(Failure::file(&path))?;
        let home = if user == 0 {
            PathBuf::from("/root")
        } else {
            self.home.clone()
        };
        let launch = Launch {
            executor: self.play.test.executor.clone(),
            user,
            // Tests and what they need share the folder they begin in.
            home: if user == self.user {
                self.home.clone()
            } else {
                home
            },
            cgroup,
            folder,
        };
        let failed = |source| Failure::Run {
            what: "a shell".to_owned(),
            source,
        };
        let own = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(own);
        command.args(launch.arguments()).stdin(Stdio::null());
        let child = command.spawn().map_err(failed)?;
        let uid = uid_of(self.boot, child.id())?;
        Ok(Shell { child, uid, launch })
    }

    /// Until it ends or its time is over.
    fn wait(&self, mut shell: Shell, seconds: u64) -> Result<(Shell, Outcome), Failure> {
        let limit = Duration::from_secs(seconds).mul_f64(self.play.patience);
        let ended = wait::until("the end of a shell", limit, || {
            shell.child.try_wait().map_err(|source| Failure::Run {
                what: "a shell".to_owned(),
                source,
            })
        });
        let mut timed_out = false;
        let status = match ended {
            Ok(status) => Some(status),
            Err(Failure::TooLate(_)) => {
                timed_out = true;
                end(&shell);
                shell.child.wait().ok()
            }
            Err(other) => return Err(other),
        };
        let said = std::fs::read(shell.launch.folder.join("err")).unwrap_or_default();
        let outcome = outcome(status, timed_out, &String::from_utf8_lossy(&said));
        Ok((shell, outcome))
    }
}

/// Whether the host gave the files that come with the tests.
fn has_files() -> bool {
    std::fs::read_dir(super::FILES).is_ok_and(|mut files| files.next().is_some())
}

/// Kills what is left of it.
fn end(shell: &Shell) {
    // Whoever is gone needs no signal.
    drop(std::fs::write(shell.launch.cgroup.join("cgroup.kill"), "1"));
}

fn outcome(status: Option<ExitStatus>, timed_out: bool, said: &str) -> Outcome {
    let lines: Vec<&str> = said.lines().collect();
    let last = lines
        .get(lines.len().saturating_sub(5)..)
        .unwrap_or_default();
    Outcome {
        exit: status.and_then(|status| status.code()),
        signal: status.and_then(|status| status.signal()),
        timed_out,
        missing: lines.iter().filter_map(|line| not_found(line)).collect(),
        said: last.join("\n").chars().take(600).collect(),
    }
}

/// The command that a shell (or what runs commands for it) did not find, if this line says so.
fn not_found(line: &str) -> Option<String> {
    let line = line.trim();
    let told = line.strip_suffix(": command not found").or_else(|| {
        let rest = line.strip_suffix(": not found")?;
        let shell = rest.split(':').next().unwrap_or_default();
        matches!(shell.rsplit('/').next(), Some("sh" | "dash" | "bash")).then_some(rest)
    })?;
    told.rsplit(':').next().map(|name| name.trim().to_owned())
}

/// The words of a command that are programs here.
fn find_programs(command: &str) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for word in words::possible_programs(command) {
        let places = PATH.split(':').map(|folder| Path::new(folder).join(&word));
        let is_program = |path: &PathBuf| {
            let known = std::fs::metadata(path);
            known.is_ok_and(|known| known.is_file() && known.permissions().mode() & 0o111 != 0)
        };
        if let Some(path) = places.into_iter().find(is_program) {
            found.insert(word, path);
        }
    }
    found
}

/// The name that the agent gives this process, which runs.
fn uid_of(boot: BootId, pid: u32) -> Result<String, Failure> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
    let after = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let start = after
        .split_whitespace()
        .nth(19)
        .and_then(|field| field.parse().ok());
    let ticks: u64 = start.ok_or_else(|| Failure::Unexpected {
        what: path,
        text: text.clone(),
    })?;
    Ok(ProcessUid::from_ticks(&boot, pid, ticks).to_string())
}

/// Where the copies lie: where administrators put programs, so that the place itself is nothing.
const COPIES: &str = "/usr/local/bin";
/// How long what is not the test may take, in seconds on an ordinary machine.
const ASIDE: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_did_not_find_is_told_and_nothing_else() {
        assert_eq!(not_found("sh: 3: zzz: not found").as_deref(), Some("zzz"));
        assert_eq!(
            not_found("bash: line 2: zzz: command not found").as_deref(),
            Some("zzz")
        );
        assert_eq!(
            not_found("sudo: zzz: command not found").as_deref(),
            Some("zzz")
        );
        assert_eq!(not_found("Unit x.service not found"), None);
        assert_eq!(not_found("rule: not found"), None);
    }
}
