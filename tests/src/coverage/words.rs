//! The words of a command: what in it may be a program, a path, a port; and the same command with its programs under other names.
//!
//! What stays true: a word is only compared, never understood. Builtins of the shell are no programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The words of a command: runs of characters that names, paths and numbers are made of.
pub(super) fn words(command: &str) -> BTreeSet<String> {
    let split = |c: char| !(c.is_alphanumeric() || "/._-+~@:$".contains(c));
    command
        .split(split)
        .map(|word| word.trim_end_matches(['.', ':']).to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// The words that could be names of programs: no path, no builtin.
pub(super) fn possible_programs(command: &str) -> BTreeSet<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    let mut found = BTreeSet::new();
    for word in words(command) {
        let begins = word.starts_with(|c: char| c.is_ascii_alphabetic());
        if begins && word.chars().all(plain) && !BUILTINS.contains(&word.as_str()) {
            found.insert(word);
        }
    }
    found
}

/// The absolute paths among the words, `~` and `$HOME` put in place.
pub(super) fn paths(command: &str, home: &str) -> BTreeSet<String> {
    let command = command.replace("${HOME}", home).replace("$HOME", home);
    let mut found = BTreeSet::new();
    for word in words(&command) {
        let path = match word.strip_prefix('~') {
            Some(rest) => format!("{home}{rest}"),
            None => word,
        };
        let path = path.trim_end_matches('/');
        if path.starts_with('/') && !path.starts_with("/dev/") {
            found.insert(path.to_owned());
        }
    }
    found
}

/// New names for these programs: other every time the seed is, never those of programs.
pub(super) fn new_names(
    programs: &BTreeMap<String, PathBuf>,
    mut seed: u64,
) -> BTreeMap<String, String> {
    let mut draw = |letters: &[u8]| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let count = u64::try_from(letters.len()).unwrap_or(1);
        let place = usize::try_from((seed >> 33) % count).unwrap_or_default();
        letters.get(place).copied().unwrap_or(b'a')
    };
    let mut name = |_: &String| -> String {
        let syllables =
            (0..4).flat_map(|_| [draw(b"bdfgklmnprtvz"), draw(b"aeiou")].map(char::from));
        syllables.collect()
    };
    programs
        .keys()
        .map(|old| (old.clone(), name(old)))
        .collect()
}

/// What is read before the command, so that these names mean the copies in `folder`.
pub(super) fn prelude(executor: &str, folder: &str, names: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    if executor == "bash" {
        text.push_str("shopt -s expand_aliases\n");
    }
    for (old, new) in names {
        // A blank at the end lets the next word be an alias too.
        let blank = if CARRIERS.contains(&old.as_str()) {
            " "
        } else {
            ""
        };
        text.extend(["alias ", old, "='", folder, "/", new, blank, "'\n"]);
    }
    text
}

/// Programs whose next word is a program.
const CARRIERS: &[&str] = &["doas", "env", "nice", "nohup", "setsid", "sudo", "xargs"];

/// Words that dash or bash know by themselves.
const BUILTINS: &[&str] = &[
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "command",
    "compgen",
    "complete",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_words_without_a_slash_that_no_shell_knows() {
        let found =
            possible_programs("cd /srv && tar -czf a.tgz x | grep \"$USER\"; echo 12 $(id)");
        let found: Vec<_> = found.iter().map(String::as_str).collect();
        assert_eq!(found, ["a.tgz", "grep", "id", "tar", "x"]);
    }

    #[test]
    fn paths_are_absolute_and_home_is_put_in_place() {
        let found = paths(
            "cat ~/.profile >/srv/out/; ls $HOME/x 2>/dev/null",
            "/home/me",
        );
        let found: Vec<_> = found.iter().map(String::as_str).collect();
        assert_eq!(found, ["/home/me/.profile", "/home/me/x", "/srv/out"]);
    }

    #[test]
    fn a_renamed_command_begins_with_aliases() {
        let programs = BTreeMap::from([
            ("id".to_owned(), PathBuf::from("/usr/bin/id")),
            ("sudo".to_owned(), PathBuf::from("/usr/bin/sudo")),
        ]);
        let names = new_names(&programs, 7);
        assert_eq!(names, new_names(&programs, 7));
        assert_ne!(names["id"], names["sudo"]);
        let text = prelude("bash", "/x", &names);
        let expected = format!(
            "shopt -s expand_aliases\nalias id='/x/{}'\nalias sudo='/x/{} '\n",
            names["id"], names["sudo"]
        );
        assert_eq!(text, expected);
    }
}
