//! What people get wrong: each mistake is one clear line, a hint where there is a next step, the exit code of the
//! contract, and nothing left half-made.

mod collectors;
mod command_lines;
mod folders;

use picket_tests::programs::{Ended, Programs};

/// How a program must end that was used wrongly.
#[derive(Clone, Copy)]
struct Mistake<'a> {
    program: &'a str,
    code: i32,
    says: &'a str,
    hint: bool,
}

/// `program` must end with this code and one line that is its own.
const fn fails(program: &str, code: i32) -> Mistake<'_> {
    Mistake {
        program,
        code,
        says: "",
        hint: false,
    }
}

impl<'a> Mistake<'a> {
    /// The line must say this.
    const fn saying(self, says: &'a str) -> Self {
        Self { says, ..self }
    }

    /// There must be a hint, too.
    const fn with_hint(self) -> Self {
        Self { hint: true, ..self }
    }

    /// Makes the mistake; the words of `line` are what a person would type behind the program's name.
    fn on(self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ended = Programs::find().unwrap().run(self.program, &words);
        self.check(line, &ended.unwrap());
    }

    /// Checks how the program ended.
    fn check(self, line: &str, ended: &Ended) {
        let what = format!("{} {line}: {ended:?}", self.program);
        assert_eq!(ended.code, Some(self.code), "{what}");
        assert_eq!(ended.stdout, "", "{what}");
        let mut lines = ended.stderr.lines();
        let first = lines.next().unwrap_or_default();
        assert!(first.starts_with(&format!("{}: ", self.program)), "{what}");
        assert!(
            first.contains(self.says),
            "it should say `{}`: {what}",
            self.says
        );
        let hints: Vec<_> = lines.collect();
        assert!(
            hints.iter().all(|line| line.starts_with("hint: ")),
            "{what}"
        );
        assert!(hints.len() <= 1, "{what}");
        assert!(!self.hint || hints.len() == 1, "a hint is missing: {what}");
    }
}

const ZEROS: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
