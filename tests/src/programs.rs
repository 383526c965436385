//! The programs of the workspace, found beside the running one, and how to run them to their end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::failure::Failure;

/// Where the built programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
    agent: Option<PathBuf>,
}

/// How a program ended and what it printed.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said on the side.
    pub stderr: String,
}

impl Programs {
    /// The folder of the running program, or its parent for a test.
    pub fn find() -> Result<Self, Failure> {
        Self::find_these(&["picket-agent", "picket-collector", "picketctl"])
    }

    /// The same if only these are needed.
    pub fn find_these(names: &[&str]) -> Result<Self, Failure> {
        let own = std::env::current_exe().map_err(Failure::file("/proc/self/exe"))?;
        let beside = own.parent().unwrap_or_else(|| Path::new("/"));
        let is_test = beside.file_name() == Some(OsStr::new("deps"));
        let folder = if is_test {
            beside.parent().unwrap_or(beside)
        } else {
            beside
        };
        let programs = Self {
            folder: folder.to_path_buf(),
            agent: None,
        };
        for name in names {
            programs.path(name)?;
        }
        Ok(programs)
    }

    /// The same with another build of the agent.
    #[must_use]
    pub fn with_agent(self, agent: Option<PathBuf>) -> Self {
        Self { agent, ..self }
    }

    /// One program.
    pub fn path(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = match &self.agent {
            Some(agent) if name == "picket-agent" => agent.clone(),
            _ => self.folder.join(name),
        };
        if path.is_file() {
            Ok(path)
        } else {
            Err(Failure::NotBuilt(path))
        }
    }

    /// Runs a program to its end, whatever the end is.
    pub fn run<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Result<Ended, Failure> {
        let mut command = Command::new(self.path(name)?);
        command.args(args).stdin(Stdio::null());
        finish(name, command)
    }

    /// Runs a program that must succeed, and gives what it printed.
    pub fn succeed<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Result<String, Failure> {
        self.run(name, args)?.success(name)
    }
}

/// Runs a command to its end.
pub fn finish(what: &str, mut command: Command) -> Result<Ended, Failure> {
    let run = |source| Failure::Run {
        what: what.to_owned(),
        source,
    };
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().map_err(run)?;
    Ok(Ended {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

impl Ended {
    /// What it printed, if it ended well.
    pub fn success(self, what: &str) -> Result<String, Failure> {
        if self.code == Some(0) {
            return Ok(self.stdout);
        }
        let code = self
            .code
            .map_or_else(|| "a signal".to_owned(), |code| format!("code {code}"));
        Err(Failure::Ended {
            what: what.to_owned(),
            code,
            stderr: self.stderr.trim().to_owned(),
        })
    }
}
