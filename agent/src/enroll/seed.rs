//! Enrolment by a file that somebody left for the first start: images, cloud-init, fleet tools.
//!
//! ```toml
//! collector = "collector.example:7443"
//! token = "pt1-..."
//! fingerprint = "sha256:..."   # may be left out: the token carries it
//! ```
//!
//! # Invariants
//!
//! - A file is believed only if it is this user's and nobody else can write it.
//! - It is used once: removed when this host is enrolled, set aside as `FILE.refused` when it is malformed or was
//!   refused, and left where it is when trying again may help.
//! - An enrolled host is never enrolled again by a file: the file is removed, and that is said.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Given, Way, enroll_as};
use crate::failure::{Code, Failure};
use crate::health;
use crate::state::host;

/// The most that is read of such a file.
const MAX_BYTES: u64 = 64 << 10;

/// Enrols this host as the file says, and uses the file up.
pub(super) fn enroll(file: &Path, way: Way<'_>) -> Result<(), Failure> {
    let root = way.root;
    let mut opened = open(file)?;
    if host::is_enrolled(root) {
        health::say(&format!("enrolled already in {}", root.display()));
        remove(file);
        return Ok(());
    }
    let done = read(&mut opened, file).and_then(|given| enroll_as(&given, way));
    match &done {
        Ok(()) => remove(file),
        Err(failure) if matches!(failure.code, Code::Usage | Code::Refused) => set_aside(file),
        Err(_) => {}
    }
    done
}

fn open(path: &Path) -> Result<File, Failure> {
    let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(no_link)
        .open(path)
        .map_err(|source| {
            let path = path.to_owned();
            Failure::new(Code::Failed, &OpenError { path, source })
        })
}

/// What the file says, if it may be believed.
fn read(opened: &mut File, path: &Path) -> Result<Given, Failure> {
    let fails = |code, line: String| {
        let shown = path.display();
        Failure::line(code, format!("failed to enrol by `{shown}`: {line}"))
    };
    let found = opened
        .metadata()
        .map_err(|error| fails(Code::Failed, error.to_string()))?;
    let user = rustix::process::geteuid().as_raw();
    if !found.is_file() || found.uid() != user || found.mode() & 0o022 != 0 {
        let mode = found.mode() & 0o7777;
        let line = format!(
            "it must be a file of user {user} that nobody else can write (user {}, mode {mode:04o})",
            found.uid()
        );
        return Err(fails(Code::Refused, line).hint("chown root, chmod 600"));
    }
    let mut text = String::new();
    opened
        .take(MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| fails(Code::Usage, error.to_string()))?;
    toml::from_str(&text).map_err(|error| fails(Code::Usage, error.message().to_owned()))
}

/// A file that cannot be removed does no harm: its token is used up, or its host enrolled.
fn remove(file: &Path) {
    let shown = file.display();
    match fs::remove_file(file) {
        Ok(()) => health::say(&format!("removed {shown}")),
        Err(error) => health::say(&format!("failed to remove {shown}: {error}")),
    }
}

fn set_aside(file: &Path) {
    let mut name = file.as_os_str().to_owned();
    name.push(".refused");
    let aside = PathBuf::from(name);
    match fs::rename(file, &aside) {
        Ok(()) => health::say(&format!("set aside as {}", aside.display())),
        Err(error) => health::say(&format!("failed to set {} aside: {error}", file.display())),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("failed to open `{}`", path.display())]
struct OpenError {
    path: PathBuf,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::tests::token;
    use super::*;

    struct Bench {
        dir: tempfile::TempDir,
    }

    impl Bench {
        /// A file with this content and mode.
        fn new(content: &str, mode: u32) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("enroll.toml");
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            Self { dir }
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("enroll.toml")
        }

        fn state(&self) -> PathBuf {
            self.dir.path().join("state")
        }

        fn enroll(&self) -> Result<(), Failure> {
            enroll(&self.file(), way(&self.state()))
        }

        fn is_aside(&self) -> bool {
            !self.file().exists() && self.dir.path().join("enroll.toml.refused").exists()
        }
    }

    fn way(root: &Path) -> Way<'_> {
        Way { proxy: None, root }
    }

    fn nobody_there() -> String {
        format!("collector = \"127.0.0.1:1\"\ntoken = \"{}\"\n", token())
    }

    #[test]
    fn a_collector_that_does_not_answer_leaves_the_file_for_the_next_try() {
        let bench = Bench::new(&nobody_there(), 0o600);
        assert_eq!(bench.enroll().unwrap_err().code, Code::Unreachable);
        assert!(bench.file().exists() && !bench.state().exists());
    }

    #[test]
    fn a_file_that_others_can_write_is_not_believed() {
        let bench = Bench::new(&nobody_there(), 0o602);
        let failure = bench.enroll().unwrap_err();
        assert_eq!(failure.code, Code::Refused);
        assert!(failure.line.contains("mode 0602"), "{}", failure.line);
        assert!(bench.is_aside());
    }

    #[test]
    fn a_malformed_file_is_set_aside_once() {
        for content in [
            "collector = 1",
            "collector = \"a:1\"",
            "token = \"pt1-x\"\ncollector = \"a:1\"",
            "x",
        ] {
            let bench = Bench::new(content, 0o600);
            assert_eq!(bench.enroll().unwrap_err().code, Code::Usage, "{content}");
            assert!(bench.is_aside(), "{content}");
        }
    }

    #[test]
    fn an_enrolled_host_stays_with_its_collector_and_the_file_goes() {
        let bench = Bench::new(&nobody_there(), 0o600);
        fs::create_dir(bench.state()).unwrap();
        fs::write(bench.state().join("host.json"), "{}").unwrap();
        assert!(bench.enroll().is_ok());
        assert!(!bench.file().exists());
        assert_eq!(
            fs::read_to_string(bench.state().join("host.json")).unwrap(),
            "{}"
        );
    }

    #[test]
    fn a_link_in_place_of_the_file_is_not_followed() {
        let bench = Bench::new(&nobody_there(), 0o600);
        let link = bench.dir.path().join("link");
        symlink(bench.file(), &link).unwrap();
        let failure = enroll(&link, way(&bench.state())).unwrap_err();
        assert_eq!(failure.code, Code::Failed);
        assert!(bench.file().exists());
    }
}
