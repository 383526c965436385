//! The set of flags that a program was started with, without their values.

use std::collections::BTreeSet;

use picket_event::Text;

/// The flags, sorted, each once, as `-c --login`; `None` if there are no arguments at all.
///
/// Of a long flag the part before `=` counts, of a short one the leading letters, so that
/// `-p22` and `-p2222` are one flag. Nothing counts after `--` or after the first
/// [`MOST_ARGUMENTS`].
pub(super) fn of(argv: &[Text]) -> Option<Vec<u8>> {
    let (_, arguments) = argv.split_first()?;
    let flags: BTreeSet<&[u8]> = arguments
        .iter()
        .take(MOST_ARGUMENTS)
        .map(Text::as_bytes)
        .take_while(|argument| *argument != b"--")
        .filter_map(flag)
        .collect();
    let flags: Vec<&[u8]> = flags.into_iter().take(MOST_FLAGS).collect();
    Some(if flags.is_empty() {
        b"no flags".to_vec()
    } else {
        flags.join(&b' ')
    })
}

fn flag(argument: &[u8]) -> Option<&[u8]> {
    let argument = argument.get(..MOST_BYTES).unwrap_or(argument);
    let name = argument
        .strip_prefix(b"-")
        .filter(|name| !name.is_empty())?;
    let end = match name.strip_prefix(b"-") {
        Some(long) => 1 + position(long, |byte| *byte == b'='),
        None => position(name, |byte| !byte.is_ascii_alphabetic()),
    };
    argument.get(..=end)
}

fn position(text: &[u8], end: impl Fn(&u8) -> bool) -> usize {
    text.iter().position(end).unwrap_or(text.len())
}

/// Arguments that are looked at.
const MOST_ARGUMENTS: usize = 16;
/// Flags that are kept.
const MOST_FLAGS: usize = 8;
/// Bytes of a flag that are kept.
const MOST_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> String {
        let argv: Vec<Text> = line.split(' ').map(Text::from).collect();
        String::from_utf8(of(&argv).unwrap()).unwrap()
    }

    #[test]
    fn values_and_order_of_flags_do_not_count() {
        assert_eq!(flags("ssh -p22 -v host"), flags("ssh -v -p2222 other"));
        assert_eq!(flags("x --color=auto -l"), "--color -l");
        assert_eq!(flags("rm -- -rf"), "no flags");
        assert_eq!(flags("ls"), "no flags");
        assert_eq!(flags("nc -"), "no flags");
        assert_eq!(flags("head -1"), "-");
        assert_eq!(of(&[]), None);
    }
}
