//! How interpreters tell the script among their arguments.
//!
//! A table, a line per family, made from the manual pages; [`Family::script`] walks the arguments by it.

/// Interpreters that take their arguments in the same way.
#[derive(Debug)]
pub(super) struct Family {
    /// Names without version.
    names: &'static [&'static str],
    /// Letters with an argument: the rest of the word or the next word.
    takes: &'static [u8],
    /// Letters with an argument in the next word, whatever follows in this one.
    takes_later: &'static [u8],
    /// Letters to which the rest of the word belongs, if there is any.
    swallows: &'static [u8],
    /// Letters after which no file is a script.
    ends: &'static [u8],
    /// Letters whose argument is the script.
    names_script: &'static [u8],
    /// Long options with an argument in the next word.
    long_takes: &'static [&'static str],
    /// Long options after which no file is a script.
    long_ends: &'static [&'static str],
    /// Whether `+x` is an option too.
    plus: bool,
    /// Whether what follows `--` is the script.
    after_dashes: bool,
}

const PLAIN: Family = Family {
    names: &[],
    takes: b"",
    takes_later: b"",
    swallows: b"",
    ends: b"",
    names_script: b"",
    long_takes: &[],
    long_ends: &[],
    plus: false,
    after_dashes: true,
};

const FAMILIES: &[Family] = &[
    Family {
        names: &[
            "sh", "bash", "dash", "ash", "hush", "zsh", "ksh", "mksh", "rbash", "fish",
        ],
        takes_later: b"oO",
        ends: b"cs",
        long_takes: &["--rcfile", "--init-file", "--init-command"],
        long_ends: &["--version", "--help", "--command"],
        plus: true,
        ..PLAIN
    },
    Family {
        names: &["python", "pypy"],
        takes: b"WXQ",
        ends: b"cmV",
        long_takes: &["--check-hash-based-pycs"],
        long_ends: &["--version", "--help"],
        ..PLAIN
    },
    Family {
        names: &["perl"],
        takes: b"I",
        swallows: b"MmxiFCDVd",
        ends: b"eEv",
        ..PLAIN
    },
    Family {
        names: &["ruby"],
        takes: b"IrCEF",
        swallows: b"KTWxiX",
        ends: b"e",
        long_takes: &["--encoding", "--external-encoding", "--internal-encoding"],
        long_ends: &["--version", "--help"],
        ..PLAIN
    },
    Family {
        names: &["node", "nodejs"],
        takes: b"rC",
        ends: b"epvhi",
        long_takes: &[
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "--conditions",
        ],
        long_ends: &[
            "--eval",
            "--print",
            "--version",
            "--help",
            "--test",
            "--run",
        ],
        ..PLAIN
    },
    Family {
        names: &["php", "php-cgi"],
        takes: b"dczS",
        ends: b"rBREaivhm",
        names_script: b"fF",
        long_takes: &["--define", "--php-ini"],
        long_ends: &["--run", "--interactive", "--version", "--help"],
        after_dashes: false,
        ..PLAIN
    },
    Family {
        names: &["lua", "luajit", "texlua"],
        takes: b"elj",
        swallows: b"O",
        ends: b"b",
        ..PLAIN
    },
    Family {
        names: &["tclsh", "wish", "expect"],
        takes: b"c",
        names_script: b"f",
        ..PLAIN
    },
    Family {
        names: &["Rscript"],
        takes: b"g",
        ends: b"e",
        long_ends: &["--version", "--help"],
        ..PLAIN
    },
];

/// The family of a program, by its name without version.
pub(super) fn of_program(name: &[u8]) -> Option<&'static Family> {
    let is_version = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let end = name.iter().rposition(|byte| !is_version(byte))?;
    let name = name.get(..=end)?;
    FAMILIES
        .iter()
        .find(|family| family.names.iter().any(|known| known.as_bytes() == name))
}

/// What a word is.
enum Word<'a> {
    Option { taking: usize },
    Script(&'a [u8]),
    ScriptIsNext,
    NoScript,
}

impl Family {
    /// The script among these arguments.
    pub(super) fn script<'a>(&self, mut words: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
        while let Some(word) = words.next() {
            match self.word(word) {
                Word::Option { taking } => {
                    for _ in 0..taking {
                        words.next()?;
                    }
                }
                Word::Script(name) => return Some(name).filter(|name| !name.is_empty()),
                Word::ScriptIsNext => return words.next().filter(|name| !name.is_empty()),
                Word::NoScript => return None,
            }
        }
        None
    }

    fn word<'a>(&self, word: &'a [u8]) -> Word<'a> {
        match word {
            b"--" if self.after_dashes => Word::ScriptIsNext,
            b"-" | b"--" => Word::NoScript,
            [b'-', b'-', ..] => self.long(word),
            [b'-', letters @ ..] => self.short(letters),
            [b'+', letters @ ..] if self.plus => self.short(letters),
            name => Word::Script(name),
        }
    }

    fn long(&self, word: &[u8]) -> Word<'static> {
        let among = |names: &[&str]| names.iter().any(|name| name.as_bytes() == word);
        if among(self.long_ends) {
            return Word::NoScript;
        }
        Word::Option {
            taking: usize::from(among(self.long_takes)),
        }
    }

    fn short<'a>(&self, letters: &'a [u8]) -> Word<'a> {
        let mut taking = 0;
        for (place, letter) in letters.iter().enumerate() {
            let rest = letters.get(place.saturating_add(1)..).unwrap_or_default();
            if self.ends.contains(letter) {
                return Word::NoScript;
            }
            if self.names_script.contains(letter) {
                return match rest {
                    [] => Word::ScriptIsNext,
                    name => Word::Script(name),
                };
            }
            if self.takes.contains(letter) {
                taking += usize::from(rest.is_empty());
                break;
            }
            if self.swallows.contains(letter) {
                break;
            }
            taking += usize::from(self.takes_later.contains(letter));
        }
        Word::Option { taking }
    }
}
