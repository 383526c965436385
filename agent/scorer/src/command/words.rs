//! A command line cut into words, each with whether a program is named there.
//!
//! This is no shell: quotes and expansions are only cut, not understood. What stays true is that every
//! word is a part of the line and that nothing is looked at twice.

/// A word of a command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Word<'l> {
    /// Its bytes.
    pub(super) text: &'l [u8],
    /// Whether it stands where a program is named.
    pub(super) program: bool,
    /// Whether output is sent to it.
    pub(super) target: bool,
}

/// The words of a line.
pub(super) fn of(line: &[u8]) -> Vec<Word<'_>> {
    let mut cut = Cut {
        words: Vec::with_capacity(16),
        program: true,
        target: false,
    };
    let mut from = 0;
    for (place, byte) in line.iter().enumerate() {
        if !ends_word(*byte) {
            continue;
        }
        cut.word(&line[from..place]);
        cut.separator(*byte);
        from = place + 1;
    }
    cut.word(&line[from..]);
    cut.words
}

struct Cut<'l> {
    words: Vec<Word<'l>>,
    /// The next word names a program.
    program: bool,
    /// The next word is written to.
    target: bool,
}

impl<'l> Cut<'l> {
    fn word(&mut self, text: &'l [u8]) {
        if text.is_empty() {
            return;
        }
        let (program, target) = (self.program, self.target);
        self.words.push(Word {
            text,
            program,
            target,
        });
        self.target = false;
        // An assignment or a flag of `sudo` and its like leaves the place open.
        let open = program && (text.contains(&b'=') || text.starts_with(b"-"));
        self.program = open || LEADS.contains(&last_component(text));
    }

    const fn separator(&mut self, byte: u8) {
        match byte {
            b'|' | b';' | b'&' | b'(' | b'`' | b'\n' => (self.program, self.target) = (true, false),
            b'>' => (self.program, self.target) = (false, true),
            b'<' => self.program = false,
            _ => {}
        }
    }
}

/// What follows the last `/`.
pub(super) fn last_component(word: &[u8]) -> &[u8] {
    let slash = word.iter().rposition(|byte| *byte == b'/');
    slash.map_or(word, |slash| &word[slash + 1..])
}

const fn ends_word(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t'
            | b'\n'
            | b'|'
            | b';'
            | b'&'
            | b'('
            | b')'
            | b'`'
            | b'"'
            | b'\''
            | b'$'
            | b'{'
            | b'}'
            | b'<'
            | b'>'
            | b','
            | b'['
            | b']'
            | b':'
    )
}

/// Words after which a program is named.
const LEADS: [&[u8]; 28] = [
    b"sudo",
    b"doas",
    b"then",
    b"do",
    b"else",
    b"if",
    b"elif",
    b"while",
    b"until",
    b"xargs",
    b"exec",
    b"command",
    b"builtin",
    b"nohup",
    b"setsid",
    b"time",
    b"env",
    b"eval",
    b"-exec",
    b"-execdir",
    b"-ok",
    b"trap",
    b"watch",
    b"which",
    b"-c",
    b"!",
    b"type",
    b"chroot",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(line: &str) -> Vec<String> {
        let words = of(line.as_bytes());
        let programs = words.iter().filter(|word| word.program);
        programs
            .map(|word| String::from_utf8_lossy(word.text).into_owned())
            .collect()
    }

    #[test]
    fn programs_are_found_where_a_shell_would_start_them() {
        assert_eq!(programs("cat a | sort -u > b; rm b"), ["cat", "sort", "rm"]);
        assert_eq!(programs("sudo -n id"), ["sudo", "-n", "id"]);
        assert_eq!(
            programs("find . -name who -exec chmod 777 {} +"),
            ["find", "chmod"]
        );
        assert_eq!(programs("A=1 B=2 env"), ["A=1", "B=2", "env"]);
        assert_eq!(programs("sh -c 'nc -l 1'"), ["sh", "nc"]);
        assert_eq!(programs("x=$(uname -r)"), ["x=", "uname"]);
    }

    #[test]
    fn what_output_is_sent_to_is_a_target() {
        let words = of(b"echo x >> /etc/passwd 2>/dev/null");
        let targets: Vec<&[u8]> = words.iter().filter(|w| w.target).map(|w| w.text).collect();
        assert_eq!(targets, [b"/etc/passwd".as_slice(), b"/dev/null"]);
    }
}
