//! What one line of `/proc/PID/stat` tells.

use picket_event::Text;

/// The fields that the portable sensor needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Stat {
    /// The kernel's short name of the process.
    pub(crate) comm: Text,
    pub(crate) is_zombie: bool,
    pub(crate) ppid: u32,
    /// Device number of the controlling terminal as the kernel encodes it; 0: none.
    pub(crate) tty: u32,
    pub(crate) is_kernel_thread: bool,
    pub(crate) threads: u64,
    /// Start in clock ticks since boot.
    pub(crate) start_ticks: u64,
    /// Where its program lies in memory; `None` if we may not know.
    pub(crate) image: Option<Image>,
    /// As `wait(2)` gives it, in a zombie that we may look at.
    pub(crate) status: u32,
}

/// Where the kernel placed a program: another place after each exec, the same after a fork.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Image {
    code: u64,
    stack: u64,
    arguments: u64,
}

impl Stat {
    /// Reads the line. The name in it may hold anything, parentheses and spaces included.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|byte| *byte == b'(')?;
        let close = line.iter().rposition(|byte| *byte == b')')?;
        let comm = line.get(open.checked_add(1)?..close)?;
        let rest = std::str::from_utf8(line.get(close.checked_add(1)?..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |nth: usize| fields.get(nth)?.parse::<u64>().ok();
        let small = |nth: usize| number(nth).and_then(|value| u32::try_from(value).ok());
        Some(Self {
            comm: Text::from(comm),
            is_zombie: matches!(*fields.first()?, "Z" | "X" | "x"),
            ppid: small(1)?,
            tty: fields.get(4)?.parse().ok()?,
            is_kernel_thread: number(6)? & KERNEL_THREAD != 0,
            threads: number(17)?,
            start_ticks: number(19)?,
            image: image(number(23), number(25), number(45)),
            status: small(49).unwrap_or(0),
        })
    }

    /// The terminal's name, as `pts/0`; empty: none.
    pub(crate) fn terminal(&self) -> Text {
        let major = (self.tty >> 8) & 0xfff;
        let minor = (self.tty & 0xff) | ((self.tty >> 12) & 0xf_ff00);
        match (major, minor) {
            (136..=143, _) => format!("pts/{minor}").into(),
            (4, 0..64) => format!("tty{minor}").into(),
            (4, _) => format!("ttyS{}", minor.saturating_sub(64)).into(),
            _ => Text::NONE,
        }
    }

    /// How it ended, of a zombie that we may look at: its exit code or the signal.
    pub(crate) fn ending(&self) -> (Option<i32>, Option<i32>) {
        let signal = i32::try_from(self.status & 0x7f)
            .ok()
            .filter(|signal| *signal != 0);
        let code = i32::try_from((self.status >> 8) & 0xff)
            .ok()
            .filter(|_| signal.is_none());
        (code, signal)
    }
}

/// The kernel gives zeros and ones where we may not know.
fn image(code: Option<u64>, stack: Option<u64>, arguments: Option<u64>) -> Option<Image> {
    let image = Image {
        code: code?,
        stack: stack?,
        arguments: arguments?,
    };
    (image.stack > 1).then_some(image)
}

/// `PF_KTHREAD`
const KERNEL_THREAD: u64 = 0x0020_0000;

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "42 (a) b ( c) Z 7 42 42 34819 42 4194304 1 2 3 4 5 6 7 8 20 0 3 0 98765 \
                        1 2 3 4096 5 6000 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 \
                        7000 27 28 29 256";

    #[test]
    fn the_fields_stand_where_they_are_read() {
        let stat = Stat::parse(LINE.as_bytes()).unwrap();
        assert_eq!(
            (stat.comm.clone(), stat.ppid, stat.threads),
            ("a) b ( c".into(), 7, 3)
        );
        assert_eq!(
            (stat.start_ticks, stat.terminal()),
            (98_765, "pts/3".into())
        );
        assert_eq!(
            stat.image,
            Some(Image {
                code: 4096,
                stack: 6000,
                arguments: 7000
            })
        );
        assert_eq!((stat.is_zombie, stat.ending()), (true, (Some(1), None)));
    }

    #[test]
    fn a_signal_is_no_exit_code() {
        let killed = Stat {
            status: 9,
            ..Stat::parse(LINE.as_bytes()).unwrap()
        };
        assert_eq!(killed.ending(), (None, Some(9)));
    }

    #[test]
    fn a_cut_line_is_no_line() {
        for end in 0..LINE.len() {
            let _any = Stat::parse(&LINE.as_bytes()[..end]);
        }
        assert_eq!(Stat::parse(b"42 (x) S 1"), None);
        assert_eq!(Stat::parse(b")42("), None);
    }
}
