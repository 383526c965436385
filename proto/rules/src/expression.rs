//! Regular expressions as rules write them (the common part of PCRE) in the words of the engine that matches them here.
//!
//! What is plain to PCRE and means something to the engine, or is refused by it, is escaped: a brace that begins no repetition,
//! `\<` and `\>`, an opening bracket, `&&`, `--` and `~~` in a class. The rest stays as it is.

/// `text` for the engine.
pub(crate) fn translated(text: &str) -> String {
    let mut translator = Translator {
        rest: text,
        out: String::with_capacity(text.len()),
    };
    while let Some(c) = translator.next() {
        match c {
            '\\' => translator.escape(),
            '[' => translator.class(),
            '{' if !translator.repeats() => translator.out.push_str(r"\{"),
            c => translator.out.push(c),
        }
    }
    translator.out
}

struct Translator<'a> {
    rest: &'a str,
    out: String,
}

impl Translator<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        Some(c)
    }

    fn eat(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// What stands up to `end`, with it, goes on unchanged.
    fn copy_to(&mut self, end: &str) {
        let length = self.rest.find(end).map_or(0, |at| at + end.len());
        let (copied, rest) = self.rest.split_at(length);
        self.out.push_str(copied);
        self.rest = rest;
    }

    /// What follows a backslash.
    fn escape(&mut self) {
        match self.next() {
            None => self.out.push('\\'),
            Some('Z') => self.out.push_str(r"(?:\n?\z)"),
            Some('e') => self.out.push_str(r"\x1b"),
            Some('h') => self.out.push_str(r"[ \t]"),
            Some(c @ ('p' | 'P' | 'x')) => {
                self.out.extend(['\\', c]);
                if self.rest.starts_with('{') {
                    self.copy_to("}");
                }
            }
            Some(c) => self.plain(c),
        }
    }

    /// An escape that means the same in a class. Only letters and digits, and what would begin something else, are escaped.
    fn plain(&mut self, c: char) {
        if c.is_ascii() && !matches!(c, '<' | '>' | '_' | ' ') {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    /// Whether `{` begins a repetition: `{2}`, `{2,}`, `{2,3}`.
    fn repeats(&self) -> bool {
        let inside = self.rest.split_once('}').map(|(inside, _)| inside);
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        inside.is_some_and(|inside| {
            let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
            !least.is_empty() && is_number(least) && is_number(most)
        })
    }

    /// A class up to its end; `[` was read.
    fn class(&mut self) {
        self.out.push('[');
        if self.eat('^') {
            self.out.push('^');
        }
        if self.eat(']') {
            self.out.push_str(r"\]");
        }
        let mut before = None;
        while let Some(c) = self.next() {
            match c {
                ']' => return self.out.push(']'),
                '[' if self.rest.starts_with(':') && self.rest.contains(":]") => {
                    self.out.push('[');
                    self.copy_to(":]");
                }
                '[' | '&' | '~' => self.out.extend(['\\', c]),
                '-' if before == Some('-') => self.out.push_str(r"\-"),
                '\\' => self.escape_in_class(),
                c => self.out.push(c),
            }
            before = Some(c);
        }
    }

    fn escape_in_class(&mut self) {
        match self.next() {
            None => self.out.push('\\'),
            Some('e') => self.out.push_str(r"\x1b"),
            Some('h') => self.out.push_str(r" \t"),
            Some('b') => self.out.push_str(r"\x08"),
            Some(c) => self.plain(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use regex::bytes::Regex;

    use super::*;

    fn finds(expression: &str, text: &str) -> bool {
        let translated = translated(expression);
        let regex = Regex::new(&translated).unwrap_or_else(|error| panic!("{expression}: {error}"));
        regex.is_match(text.as_bytes())
    }

    #[test]
    fn a_brace_that_repeats_nothing_is_a_brace() {
        assert!(finds(r"\${jndi:", "${jndi:ldap"));
        assert!(finds(r"^a{2,3}$", "aaa"));
        assert!(!finds(r"^a{2}$", "a"));
        assert!(finds(r"^{,3}x{1,y}$", "{,3}x{1,y}"));
        assert!(finds(r"\x{41}\p{Lu}", "AB"));
    }

    #[test]
    fn arrows_are_arrows_and_no_bounds_of_words() {
        assert!(finds(r"bash -i \>& /dev/tcp", "bash -i >& /dev/tcp"));
        assert!(finds(r"a\<b\_c\ d", "a<b_c d"));
    }

    #[test]
    fn in_a_class_brackets_and_pairs_of_signs_are_characters() {
        assert!(finds(r"^[[]$", "["));
        assert!(finds(r"^[]a]+$", "]a"));
        assert!(finds(r"^[^]a]+$", "[b"));
        assert!(finds(r"^[&&a]+$", "a&"));
        assert!(finds(r"^[+--]+$", "+,-"));
        assert!(finds(r"^[[:alpha:]_-]+$", "ab_-"));
        assert!(finds(r"^[\w\]\[\\]+$", r"a[\]"));
        assert!(finds(r"x\Z", "x\n"));
    }

    #[test]
    fn what_is_broken_stays_broken() {
        for text in ["(", "[a", "a{9", "\\", "[\\", "(?=x)", "\\1"] {
            let broken = Regex::new(&translated(text));
            assert_eq!(broken.is_err(), text != "a{9", "{text}");
        }
    }
}
