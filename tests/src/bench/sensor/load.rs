//! The programs of `tests/load`, built with the C compiler of this host into a directory that goes away.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::failure::Failure;
use crate::programs::finish;
use crate::rig::write_file;

/// The built programs.
#[derive(Debug)]
pub(super) struct Load {
    dir: TempDir,
}

/// What a load did and what it cost: the CPU time of its whole tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) done: u64,
    pub(super) wall_us: u64,
    user_us: u64,
    system_us: u64,
}

impl Load {
    /// Builds them.
    pub(super) fn build() -> Result<Self, Failure> {
        // Not below a watched path, so that what is not watched can be tried here.
        let dir = tempfile::Builder::new()
            .prefix("picket-load-")
            .tempdir_in("/var");
        let dir = dir.map_err(Failure::file("/var"))?;
        let load = Self { dir };
        load.compile("load", include_str!("../../../load/load.c"), &[])?;
        let bare = ["-nostdlib", "-fno-stack-protector"];
        load.compile("programs", include_str!("../../../load/programs.c"), &[])?;
        load.compile("tiny", include_str!("../../../load/tiny.c"), &bare)?;
        Ok(load)
    }

    fn compile(&self, name: &str, source: &str, options: &[&str]) -> Result<(), Failure> {
        let file = self.path(&format!("{name}.c"));
        write_file(&file, source)?;
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-static", "-o"])
            .arg(self.path(name))
            .arg(&file)
            .args(options);
        finish("cc", cc)?.success("cc").map(drop)
    }

    /// A file beside the programs.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The least child.
    pub(super) fn tiny(&self) -> PathBuf {
        self.path("tiny")
    }

    /// The storm of [`Load::exec`] with what the agent's programs in the kernel took meanwhile, one line of JSON for each.
    pub(super) fn exec_with_programs(
        &self,
        agent: u32,
        count: u64,
    ) -> Result<(Cost, Vec<Value>), Failure> {
        let [load, tiny] = [self.path("load"), self.tiny()].map(|path| path.display().to_string());
        let (agent, count) = (agent.to_string(), count.to_string());
        let mut command = Command::new(self.path("programs"));
        command.args([&agent, &load, "exec", &count, "0", WORKERS, &tiny, "shares"]);
        let printed = finish("the programs", command)?.success("the programs")?;
        let mut lines = Vec::new();
        for line in printed.lines() {
            lines.push(json(line)?);
        }
        let cost = cost(lines.first().unwrap_or(&Value::Null), &printed)?;
        Ok((cost, lines.split_off(1)))
    }

    /// `count` spawns by two workers, or as many as `seconds` allow if it is 0.
    pub(super) fn exec(&self, count: u64, seconds: u64, prefix: &str) -> Result<Cost, Failure> {
        let tiny = self.tiny().display().to_string();
        let (count, seconds) = (count.to_string(), seconds.to_string());
        self.run(&["exec", &count, &seconds, WORKERS, &tiny, prefix])
    }

    /// `cycles` of create, write, rename and delete by two workers in `folder`; on a tmpfs of their own there if `private`.
    pub(super) fn files(
        &self,
        cycles: u64,
        folder: &Path,
        prefix: &str,
        private: bool,
    ) -> Result<Cost, Failure> {
        let verb = if private { "private-files" } else { "files" };
        let folder = folder.display().to_string();
        self.run(&[verb, &cycles.to_string(), WORKERS, &folder, prefix])
    }

    /// `count` processes in families, whose process ids go round in a small pool.
    pub(super) fn reuse(&self, count: u64, prefix: &str) -> Result<Cost, Failure> {
        let tiny = self.tiny().display().to_string();
        self.run(&["reuse", &count.to_string(), WORKERS, &tiny, prefix])
    }

    /// Any program, once.
    pub(super) fn command(&self, program: &str, arguments: &[&str]) -> Result<Cost, Failure> {
        self.run(&[&["command", "1", program], arguments].concat())
    }

    fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Cost, Failure> {
        let mut command = Command::new(self.path("load"));
        command.args(arguments).stdin(Stdio::null());
        let printed = finish("the load", command)?.success("the load")?;
        let last = printed.lines().last().unwrap_or_default();
        cost(&json(last)?, &printed)
    }
}

fn json(line: &str) -> Result<Value, Failure> {
    let unexpected = |_syntax| Failure::Unexpected {
        what: "the load".to_owned(),
        text: line.to_owned(),
    };
    serde_json::from_str(line).map_err(unexpected)
}

fn cost(value: &Value, printed: &str) -> Result<Cost, Failure> {
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    let cost = || {
        Some(Cost {
            done: number("done")?,
            wall_us: number("wall_us")?,
            user_us: number("user_us")?,
            system_us: number("system_us")?,
        })
    };
    match cost() {
        Some(cost) if number("failed") == Some(0) => Ok(cost),
        _ => Err(Failure::Unexpected {
            what: "the load".to_owned(),
            text: printed.to_owned(),
        }),
    }
}

impl Cost {
    /// User and kernel together, in seconds.
    pub(super) fn cpu(&self) -> f64 {
        micros(self.user_us.saturating_add(self.system_us))
    }

    /// How many a second.
    pub(super) fn rate(&self) -> u64 {
        self.done.saturating_mul(1_000_000) / self.wall_us.max(1)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few minutes in microseconds")]
fn micros(micros: u64) -> f64 {
    micros as f64 / 1e6
}

const WORKERS: &str = "2";
