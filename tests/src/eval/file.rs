//! Labelled files, line by line, also compressed ones.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};

use super::EvalError;

/// Calls `each` with the number (from 1) and the bytes of every line that is not empty, without its end.
pub(super) fn lines(
    path: &Path,
    mut each: impl FnMut(usize, &[u8]) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let wrong = |source| EvalError::Read {
        path: path.to_path_buf(),
        source,
    };
    let mut reader = open(path).map_err(wrong)?;
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = (&mut reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line);
        if read.map_err(wrong)? == 0 {
            return reader.finish().map_err(wrong);
        }
        number += 1;
        if line.len() as u64 == LONGEST_LINE {
            return Err(refuse(path, number, "longer than 64 MiB"));
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if !text.trim_ascii().is_empty() {
            each(number, text)?;
        }
    }
}

/// What is wrong with a line.
pub(super) fn refuse(path: &Path, line: usize, reason: impl Into<String>) -> EvalError {
    EvalError::Line {
        path: path.to_path_buf(),
        line,
        reason: reason.into(),
    }
}

/// `None` for what is normal, else the class of the attack.
pub(super) fn class(label: &str) -> Option<String> {
    let normal = ["normal", "benign", "0"];
    let label = label.trim();
    (!normal.iter().any(|word| label.eq_ignore_ascii_case(word))).then(|| label.to_owned())
}

fn open(path: &Path) -> io::Result<Lines> {
    let mut file = File::open(path)?;
    let mut magic = [0; 2];
    let compressed = file.read_exact(&mut magic).is_ok() && magic == GZIP;
    file.rewind()?;
    if !compressed {
        return Ok(Lines::Plain(BufReader::new(file)));
    }
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = gzip.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok(Lines::Gzip(BufReader::new(out), gzip))
}

enum Lines {
    Plain(BufReader<File>),
    Gzip(BufReader<std::process::ChildStdout>, std::process::Child),
}

impl Lines {
    /// A compressed file that is cut short is an error, not a shorter file.
    fn finish(&mut self) -> io::Result<()> {
        let Self::Gzip(_, gzip) = self else {
            return Ok(());
        };
        let status = gzip.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "gzip refused it",
            ))
        }
    }
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(reader, _) => reader.read(buffer),
        }
    }
}

impl BufRead for Lines {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(reader) => reader.fill_buf(),
            Self::Gzip(reader, _) => reader.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::Plain(reader) => reader.consume(amount),
            Self::Gzip(reader, _) => reader.consume(amount),
        }
    }
}

impl Drop for Lines {
    /// A reader that stops early leaves no process behind.
    fn drop(&mut self) {
        if let Self::Gzip(_, gzip) = self {
            drop(gzip.kill());
            drop(gzip.wait());
        }
    }
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
const LONGEST_LINE: u64 = 64 << 20;
