//! The last step of the guest's runner in the process that becomes a test's shell: a session and a control group of its own, a user, then
//! the shell, which reads its commands from standard input.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

/// Where and as whom a shell is to run.
#[derive(Clone, Debug)]
pub struct Launch {
    /// `sh` or `bash`.
    pub executor: String,
    /// 0, or the number of an ordinary user whose group has the same number.
    pub user: u32,
    /// The user's home, where it begins.
    pub home: PathBuf,
    /// Its control group, a folder that exists.
    pub cgroup: PathBuf,
    /// The folder that holds `in`, and gets `out` and `err`.
    pub folder: PathBuf,
}

impl Launch {
    /// The arguments that make this program do it.
    pub fn arguments(&self) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        vec![
            "launch".to_owned(),
            self.executor.clone(),
            self.user.to_string(),
            path(&self.home),
            path(&self.cgroup),
            path(&self.folder),
        ]
    }

    /// Becomes the shell. Returns only if that fails.
    pub fn exec(&self) -> Failure {
        self.prepare().map_or_else(
            |failure| failure,
            |mut command| Failure::Run {
                what: self.executor.clone(),
                source: command.exec(),
            },
        )
    }

    fn prepare(&self) -> Result<Command, Failure> {
        let open = |name: &str, write: bool| {
            let path = self.folder.join(name);
            let file = if write {
                File::create(&path)
            } else {
                File::open(&path)
            };
            file.map_err(Failure::file(path))
        };
        let write = |path: PathBuf, text: u32| {
            std::fs::write(&path, text.to_string()).map_err(Failure::file(path))
        };
        write(self.cgroup.join("cgroup.procs"), std::process::id())?;
        // As after a login; a kernel without audit has no such file.
        drop(write(PathBuf::from("/proc/self/loginuid"), self.user));
        rustix::process::setsid().map_err(|errno| Failure::Run {
            what: "a session of its own".to_owned(),
            source: errno.into(),
        })?;
        let mut command = Command::new(Path::new("/bin").join(&self.executor));
        command
            .arg0(&self.executor)
            .env_clear()
            .envs(environment(self.user, &self.home))
            .current_dir(&self.home)
            .stdin(open("in", false)?)
            .stdout(open("out", true)?)
            .stderr(open("err", true)?);
        if self.user != 0 {
            command.uid(self.user).gid(self.user);
        }
        Ok(command)
    }
}

/// What a shell after a login has.
fn environment(user: u32, home: &Path) -> Vec<(&'static str, String)> {
    let name = if user == 0 {
        "root".to_owned()
    } else {
        super::guest::USER.to_owned()
    };
    vec![
        ("HOME", home.display().to_string()),
        ("LANG", "C.UTF-8".to_owned()),
        ("LOGNAME", name.clone()),
        ("PATH", PATH.to_owned()),
        ("SHELL", "/bin/bash".to_owned()),
        ("TERM", "xterm".to_owned()),
        ("USER", name),
        ("ATOMICS", super::guest::FILES.to_owned()),
        ("PathToAtomicsFolder", super::guest::FILES.to_owned()),
    ]
}

/// Where programs are sought, in the guest.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
