//! Which script an exec runs: the file itself, if the kernel handed it to an interpreter, or the file that
//! an interpreter was given as its argument.
//!
//! # Invariants
//!
//! - An exec of anything else costs one look at the name of its executable.
//! - At most [`MAX_WORDS`] arguments are looked at, whatever the program makes of the rest.
//! - A program text in the arguments (`-c`, `-e`), a module (`-m`) and standard input are no script.

use picket_event::{Process, Text};

mod options;

use options::Family;

/// Arguments that are looked at.
const MAX_WORDS: usize = 64;

/// A script and who runs it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Found {
    /// Its absolute path, or what the caller wrote if the working directory is not known.
    pub(super) path: Text,
    /// The program that reads it.
    pub(super) interpreter: Text,
}

/// The script that this process, which has just started its program, runs.
pub(super) fn of(process: &Process) -> Option<Found> {
    let name = match process.script.as_bytes() {
        [] => argument(process)?,
        script => script,
    };
    Some(Found {
        path: absolute(process.cwd.as_bytes(), name),
        interpreter: process.exe.clone(),
    })
}

/// The script among the arguments of an interpreter.
fn argument(process: &Process) -> Option<&[u8]> {
    let (family, skipped) = interpreter(process)?;
    let words = process.argv.iter().skip(skipped).take(MAX_WORDS);
    family.script(words.map(Text::as_bytes))
}

/// What kind of interpreter it is, and how many words come before its arguments.
fn interpreter(process: &Process) -> Option<(&'static Family, usize)> {
    let name = process.exe.basename();
    if name != b"busybox" {
        return Some((options::of_program(name)?, 1));
    }
    let applet = process.argv.first()?.basename();
    let (applet, skipped) = match applet {
        b"busybox" => (process.argv.get(1)?.basename(), 2),
        applet => (applet, 1),
    };
    Some((options::of_program(applet)?, skipped))
}

/// Seen from the working directory, without `.` and doubled slashes; `..` is left as it is, because what
/// it means depends on links.
fn absolute(cwd: &[u8], name: &[u8]) -> Text {
    let known = cwd.starts_with(b"/") && !name.starts_with(b"/");
    let folder = if known { cwd } else { b"" };
    if !known && !name.starts_with(b"/") {
        return Text::from(name);
    }
    let parts = folder.split(|byte| *byte == b'/');
    let parts = parts.chain(name.split(|byte| *byte == b'/'));
    let mut path = Vec::with_capacity(folder.len() + name.len() + 1);
    for part in parts.filter(|part| !part.is_empty() && *part != b".") {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    Text::from(path)
}

#[cfg(test)]
mod tests;
