//! Where a passphrase comes from: a file, or the terminal without echo.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::{Exit, Failure};
use crate::keyfile::{KeyFileError, Passphrase};

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
enum PassphraseError {
    #[error("failed to read the passphrase file `{}`", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the passphrase file `{}` begins with an empty line", .0.display())]
    EmptyFile(PathBuf),
    #[error("failed to read a passphrase from the terminal")]
    Terminal(#[source] io::Error),
    #[error("no passphrase was typed")]
    NotTyped,
}

/// The first line of a file, without its end.
pub(crate) fn from_file(path: &Path) -> Result<Passphrase, Failure> {
    let unread = |source| PassphraseError::File {
        path: path.to_owned(),
        source,
    };
    let bytes = fs::read(path).map_err(|source| Failure::new(Exit::Failed, unread(source)))?;
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let empty = || Failure::new(Exit::Usage, PassphraseError::EmptyFile(path.to_owned()));
    Passphrase::new(line.to_vec()).ok_or_else(empty)
}

/// From the file if there is one, else typed at the terminal, else there is none.
pub(crate) fn ask(file: Option<&Path>, key: &Path) -> Result<Passphrase, Failure> {
    if let Some(file) = file {
        return from_file(file);
    }
    let mut options = OpenOptions::new();
    let Ok(terminal) = options.read(true).write(true).open("/dev/tty") else {
        return Err(KeyFileError::PassphraseNeeded.into());
    };
    let typed = type_at(&terminal, key);
    let typed =
        typed.map_err(|source| Failure::new(Exit::Failed, PassphraseError::Terminal(source)))?;
    let none = || Failure::new(Exit::Failed, PassphraseError::NotTyped);
    Passphrase::new(typed).ok_or_else(none)
}

fn type_at(mut terminal: &File, key: &Path) -> io::Result<Vec<u8>> {
    write!(terminal, "passphrase of {}: ", key.display())?;
    let silence = Silence::over(terminal)?;
    let typed = read_line(terminal);
    drop(silence);
    writeln!(terminal)?;
    typed
}

/// A terminal that does not show what is typed, until this is dropped.
///
/// It delivers each key at once and makes no signals, so that ctrl-c cannot leave it silent.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn over(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        let _restored = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

fn read_line(mut keys: impl Read) -> io::Result<Vec<u8>> {
    let mut typed = Vec::new();
    let mut key = [0];
    while keys.read(&mut key)? == 1 {
        match key[0] {
            b'\r' | b'\n' | CTRL_D => break,
            CTRL_C => return Ok(Vec::new()),
            BACKSPACE | DELETE => drop(typed.pop()),
            CTRL_U => typed.clear(),
            byte => typed.push(byte),
        }
        typed.truncate(LONGEST);
    }
    Ok(typed)
}

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CTRL_U: u8 = 21;
const DELETE: u8 = 127;
/// Longest passphrase that can be typed, in bytes.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_can_be_corrected() {
        assert_eq!(read_line(&b"abd\x7fc\n more"[..]).unwrap(), b"abc");
        assert_eq!(read_line(&b"wrong\x15right\r"[..]).unwrap(), b"right");
        assert_eq!(read_line(&b"secret\x03"[..]).unwrap(), b"");
        assert_eq!(read_line(&b"cut"[..]).unwrap(), b"cut");
    }

    #[test]
    fn a_file_gives_its_first_line() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("passphrase");
        fs::write(&path, "correct horse\r\nbattery\n").unwrap();
        assert!(from_file(&path).is_ok());
        fs::write(&path, "\nx").unwrap();
        let failure = from_file(&path).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(from_file(&base.path().join("absent")).is_err());
    }
}
