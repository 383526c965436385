//! One line of an authentication log: when, which program, which process, and what it says.
//!
//! Pure: any bytes go in, nothing panics, and what is not understood whole says nothing.

use jiff::civil;
use jiff::tz::TimeZone;
use picket_event::{Detail, Event, Kind, LogLine, Source, Text, UnixNanos};

use super::bytes::{cut, number, word};
use super::fact::Fact;
use super::{pam, sshd, switch};

/// One line that says something about a login.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthLine {
    /// When, by the writer's clock.
    pub time: UnixNanos,
    /// On which host, as the line has it.
    pub host: Text,
    /// Which program wrote it.
    pub program: Text,
    /// Which process, where the line says so.
    pub pid: Option<u32>,
    /// What it says.
    pub fact: Fact,
    /// How often: the log's writer folds repetitions into one line. At most [`MAX_TIMES`].
    pub times: u32,
}

/// Reads one line without its line feed; `None` if it says nothing about a login.
///
/// Both heads are known: `Dec 10 06:55:46 HOST PROGRAM[PID]: ` and RFC 3339 in place of the date.
pub fn parse_auth_line(line: &[u8], clock: &LineClock) -> Option<AuthLine> {
    LogHead::parse(line, clock)?.login()
}

/// A line taken apart, whatever it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogHead<'a> {
    /// When, by the writer's clock.
    pub time: UnixNanos,
    /// On which host.
    pub host: &'a [u8],
    /// Which program.
    pub program: &'a [u8],
    /// Which process.
    pub pid: Option<u32>,
    /// What it says.
    pub message: &'a [u8],
}

impl<'a> LogHead<'a> {
    /// Takes a line apart; `None` if it has no head.
    pub fn parse(line: &'a [u8], clock: &LineClock) -> Option<Self> {
        let (time, rest) = clock.read(line)?;
        let (host, rest) = word(rest);
        let (tag, message) = cut(rest, b":")?;
        let (program, pid) = program_and_pid(tag)?;
        Some(Self {
            time,
            host,
            program,
            pid,
            message: message.trim_ascii(),
        })
    }

    /// The whole line as something that rules may find something in.
    pub fn finding(&self, line: &[u8]) -> Event {
        let log = LogLine {
            program: Text::from(self.program),
            pid: self.pid,
            text: Text::from(line),
        };
        Event::new(Kind::Finding, self.time, Source::AuthLog).with(Detail::Log(log))
    }

    /// What it says about a login.
    pub fn login(&self) -> Option<AuthLine> {
        let (times, message) = unfolded(self.message);
        Some(AuthLine {
            time: self.time,
            host: Text::from(self.host),
            program: Text::from(self.program),
            pid: self.pid,
            fact: say(self.program, message)?,
            times,
        })
    }
}

/// The same for a line whose head was taken apart by whoever keeps it.
pub(super) fn said(
    time: UnixNanos,
    program: &[u8],
    pid: Option<u32>,
    message: &[u8],
) -> Option<AuthLine> {
    Some(AuthLine {
        time,
        host: Text::NONE,
        program: Text::from(program),
        pid,
        fact: say(program, message.trim_ascii())?,
        times: 1,
    })
}

fn say(program: &[u8], message: &[u8]) -> Option<Fact> {
    if let Some(fact) = pam::parse(program, message) {
        return Some(fact);
    }
    match program.rsplit(|byte| *byte == b'/').next()? {
        b"sshd" | b"sshd-session" | b"sshd-auth" => sshd::parse(message),
        b"sudo" => switch::sudo(message),
        b"su" => switch::su(message),
        b"pkexec" => switch::pkexec(message),
        b"login" => switch::login(message),
        _ => None,
    }
}

/// `PROGRAM` or `PROGRAM[PID]`.
fn program_and_pid(tag: &[u8]) -> Option<(&[u8], Option<u32>)> {
    let is_name = !tag.is_empty() && tag.len() <= MAX_TAG && !tag.contains(&b' ');
    let tag = is_name.then_some(tag)?;
    match tag.strip_suffix(b"]").and_then(|open| cut(open, b"[")) {
        Some((program, pid)) => Some((program, number(pid))),
        None => Some((tag, None)),
    }
}

/// `message repeated N times: [ MESSAGE]`
fn unfolded(message: &[u8]) -> (u32, &[u8]) {
    let folded = message
        .strip_prefix(b"message repeated ")
        .and_then(|rest| cut(rest, b" times: [ "))
        .and_then(|(times, rest)| Some((number(times)?, rest.strip_suffix(b"]")?)));
    match folded {
        Some((times, inner)) => (times.min(MAX_TIMES), inner),
        None => (1, message),
    }
}

/// What a date without year and zone means: the year that puts it last before now, in this zone.
#[derive(Clone, Debug)]
pub struct LineClock {
    now: UnixNanos,
    zone: TimeZone,
}

impl LineClock {
    /// In the host's own zone.
    pub fn local(now: UnixNanos) -> Self {
        Self {
            now,
            zone: TimeZone::system(),
        }
    }

    /// In UTC.
    pub fn utc(now: UnixNanos) -> Self {
        Self {
            now,
            zone: TimeZone::UTC,
        }
    }

    /// The time at the head of `line`, and what follows it.
    fn read<'a>(&self, line: &'a [u8]) -> Option<(UnixNanos, &'a [u8])> {
        if line.first()?.is_ascii_digit() {
            let (stamp, rest) = word(line);
            return Some((self.rfc_3339(std::str::from_utf8(stamp).ok()?)?, rest));
        }
        let stamp = std::str::from_utf8(line.get(..TRADITIONAL)?).ok()?;
        let rest = line.get(TRADITIONAL..)?.strip_prefix(b" ")?;
        Some((self.traditional(stamp)?, rest))
    }

    fn rfc_3339(&self, stamp: &str) -> Option<UnixNanos> {
        let at_a_second = stamp.len() >= "2026-01-05T10:00:00".len() && stamp.is_ascii();
        at_a_second.then_some(())?;
        UnixNanos::parse(stamp).or_else(|| self.instant(stamp.parse().ok()?))
    }

    /// `Dec 10 06:55:46`, the day padded with a space.
    fn traditional(&self, stamp: &str) -> Option<UnixNanos> {
        let mut parts = stamp.split_ascii_whitespace();
        let (month, day, time) = (parts.next()?, parts.next()?, parts.next()?);
        let month = MONTHS.iter().position(|name| *name == month)?;
        let month = i8::try_from(month).ok()?.checked_add(1)?;
        let day = i8::try_from(number(day.as_bytes())?).ok()?;
        let time = clock_time(time)?;
        let latest = self.now.plus(TOMORROW);
        let year = self.year()?;
        (0..YEARS_BACK).find_map(|back| {
            let date = civil::Date::new(year.checked_sub(back)?, month, day).ok()?;
            self.instant(date.to_datetime(time))
                .filter(|instant| *instant <= latest)
        })
    }

    /// The year it will be tomorrow, so that a clock just ahead of ours is not a year behind.
    fn year(&self) -> Option<i16> {
        let tomorrow =
            jiff::Timestamp::from_nanosecond(i128::from(self.now.plus(TOMORROW).0)).ok()?;
        Some(tomorrow.to_zoned(self.zone.clone()).year())
    }

    fn instant(&self, civil: civil::DateTime) -> Option<UnixNanos> {
        let zoned = civil.to_zoned(self.zone.clone()).ok()?;
        i64::try_from(zoned.timestamp().as_nanosecond())
            .ok()
            .map(UnixNanos)
    }
}

/// `HH:MM:SS`
fn clock_time(text: &str) -> Option<civil::Time> {
    let mut parts = text.split(':').map(|part| {
        let two_digits = part.len() == 2;
        number(part.as_bytes())
            .filter(|_| two_digits)
            .and_then(|value| i8::try_from(value).ok())
    });
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(())?;
    civil::Time::new(hour, minute, second, 0).ok()
}

/// Most repetitions that one line is believed to stand for.
pub const MAX_TIMES: u32 = 1_000;

/// Longest `PROGRAM[PID]`.
const MAX_TAG: usize = 128;
/// Length of `Dec 10 06:55:46`.
const TRADITIONAL: usize = 15;
/// How far ahead of ours the writer's clock may be.
const TOMORROW: std::time::Duration = std::time::Duration::from_hours(24);
/// Enough years to find a 29 February.
const YEARS_BACK: i16 = 9;
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "host sshd[42]: Failed password for root from 192.0.2.7 port 1 ssh2";

    fn clock(now: &str) -> LineClock {
        LineClock::utc(UnixNanos::parse(now).unwrap())
    }

    fn time(head: &str, now: &str) -> Option<String> {
        let line = format!("{head} {TAIL}");
        parse_auth_line(line.as_bytes(), &clock(now)).map(|line| line.time.to_string())
    }

    #[test]
    fn a_date_without_a_year_is_the_last_such_date() {
        let now = "2026-01-05T10:00:00Z";
        assert_eq!(
            time("Jan  5 09:59:59", now).unwrap(),
            "2026-01-05T09:59:59.000000000Z"
        );
        assert_eq!(
            time("Dec 31 23:59:59", now).unwrap(),
            "2025-12-31T23:59:59.000000000Z"
        );
        assert_eq!(
            time("Feb 29 00:00:00", now).unwrap(),
            "2024-02-29T00:00:00.000000000Z"
        );
        let eve = "2025-12-31T23:59:00Z";
        assert_eq!(
            time("Jan  1 00:00:01", eve).unwrap(),
            "2026-01-01T00:00:01.000000000Z"
        );
    }

    #[test]
    fn rfc_3339_keeps_its_zone_and_fraction() {
        let now = "2026-01-05T10:00:00Z";
        let head = "2026-01-05T11:00:00.123456+01:00";
        assert_eq!(time(head, now).unwrap(), "2026-01-05T10:00:00.123456000Z");
    }

    #[test]
    fn nonsense_is_no_time() {
        let now = "2026-01-05T10:00:00Z";
        for head in [
            "Foo 10 06:55:46",
            "Dec 99 06:55:46",
            "Dec 10 25:55:46",
            "2026-13-05T11:00:00Z",
            "1",
            "",
        ] {
            assert_eq!(time(head, now), None, "{head}");
        }
    }

    #[test]
    fn a_folded_line_counts_as_often_as_it_says() {
        let line = b"Dec 10 06:55:46 h sshd[42]: message repeated 5 times: [ Failed password for \
                     root from 192.0.2.7 port 1 ssh2]";
        let parsed = parse_auth_line(line, &clock("2026-01-05T10:00:00Z")).unwrap();
        assert_eq!(
            (parsed.times, parsed.fact.kind, parsed.pid),
            (5, Some(Kind::LoginFailed), Some(42))
        );
    }

    #[test]
    fn sudo_without_a_process_number_is_read() {
        let line =
            b"Dec 10 06:55:46 h sudo:   al : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls";
        let parsed = parse_auth_line(line, &clock("2026-01-05T10:00:00Z")).unwrap();
        assert_eq!(
            (parsed.pid, parsed.fact.kind),
            (None, Some(Kind::AccountSwitch))
        );
    }
}
