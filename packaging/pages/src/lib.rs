//! Man pages and shell completions of a program, written from its own command line.
//!
//! ```text
//! FOLDER/man1/PROGRAM.1, PROGRAM-VERB.1, ...
//! FOLDER/bash/PROGRAM   FOLDER/zsh/_PROGRAM   FOLDER/fish/PROGRAM.fish
//! ```
//!
//! What stays true: what a page says is what the parser takes, because both come from one definition. The same
//! definition gives the same bytes.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;

/// Asks a program to write its pages.
#[derive(clap::Args, Debug)]
pub struct PagesArgs {
    /// Where to write man pages and completions
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Writes the pages of a program and of each of its verbs, and its completions.
pub fn write(command: Command, folder: &Path) -> io::Result<()> {
    let made = |name: &str| {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).map(|()| folder)
    };
    let name = command.get_name().to_owned();
    let mut completed = command.clone();
    for (shell, place) in [
        (Shell::Bash, "bash"),
        (Shell::Zsh, "zsh"),
        (Shell::Fish, "fish"),
    ] {
        clap_complete::generate_to(shell, &mut completed, &name, made(place)?)?;
    }
    // bash-completion looks for a file that is called as the program.
    fs::rename(
        folder.join("bash").join(format!("{name}.bash")),
        folder.join("bash").join(&name),
    )?;
    clap_mangen::generate_to(command, made("man1")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("sentry")
            .about("Looks out")
            .subcommand(Command::new("look").about("Look once"))
            .subcommand(Command::new("pages").hide(true))
    }

    #[test]
    fn a_program_and_its_verbs_have_pages_and_hidden_verbs_have_none() {
        let folder = tempfile::tempdir().unwrap();
        write(command(), folder.path()).unwrap();
        let there = |name: &str| folder.path().join(name).exists();
        assert!(there("man1/sentry.1") && there("man1/sentry-look.1"));
        assert!(!there("man1/sentry-pages.1"));
        let page = fs::read_to_string(folder.path().join("man1/sentry-look.1")).unwrap();
        assert!(page.contains("Look once"), "{page}");
        for name in ["bash/sentry", "zsh/_sentry", "fish/sentry.fish"] {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(text.contains("look"), "{name}");
        }
    }

    #[test]
    fn the_same_definition_gives_the_same_bytes() {
        let read = || {
            let folder = tempfile::tempdir().unwrap();
            write(command(), folder.path()).unwrap();
            fs::read(folder.path().join("man1/sentry.1")).unwrap()
        };
        assert_eq!(read(), read());
    }
}
