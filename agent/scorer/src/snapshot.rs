//! The state as bytes, and back.
//!
//! # Format 4
//!
//! All numbers little-endian.
//!
//! ```text
//! "PKTSCORE" | format u32 | slots u32 | bins u32 | used u32
//!   events u64 | wall day i32 | active days u32 | day u16
//!   bins times:  count u32
//!   used times:  place u32 | key u64 | count u32 | usual u32 | distinct u16 | days u16 | last day u16 | today u16
//!   sources u32, then that many: what was refused (see `write_refusals`)
//!   strings u32 | followed u32 | distinct u32
//!   for every 8 strings:  which are used u8, then those:  key u16 | count u16 | followed u16 | distinct u16
//!   day of the lines u16 | three sets of 8,192 u64
//!   lines held back u8, then those:  length u16 | bytes
//!   change windows (see `windows/snapshot.rs`) | rare scores (see `late.rs`) | shares (see `drift.rs`)
//!   joined a fleet u8; 1: secret [u8; 16] | pairs u32, then those:  place u32 | context u64 | value u64 | days u16 | last day u16
//!   sessions (see `sessions.rs`)
//! checksum [u8; 16]: SipHash-2-4-128 of all bytes before it, keyed with the host's secret
//! ```
//!
//! Format 3 ends behind the fleet, format 2 behind the shares. Format 1 ends behind the sources, or before them: it is read, and the text of command lines is
//! learned anew. The fleet's prior is not in it: whoever has it gives it again.
//!
//! # Invariants
//!
//! - Restored bytes give a scorer that goes on exactly as the one that gave them would have.
//! - Bytes that were changed in any place are refused. The checksum is keyed, so a snapshot of another
//!   host is refused too; it does not show that an old snapshot was put back.

use picket_event::fleet::{FleetSecret, Pair};

use crate::calendar::Calendar;
use crate::calibration::Calibration;
use crate::command::days::Days;
use crate::command::line::Lines;
use crate::drift::Shares;
use crate::fleet::{Fleet, Sighting};
use crate::keys::Keys;
use crate::late::Late;
use crate::ngrams::{self as strings, Context};
use crate::refusals::{Entry, Refusals};
use crate::sessions::Sessions;
use crate::table::{Slot, Table};
use crate::windows::Windows;
use crate::{Scorer, Settings};

impl Scorer {
    /// Everything it has learned, as bytes: 28 for each count in use, 8 for each string of command lines, and
    /// 600 kB at most. The settings are not in it.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.table.used().count() * SLOT_BYTES + FIXED_BYTES);
        out.extend_from_slice(MAGIC);
        let used = number(self.table.used().count());
        for head in [
            FORMAT,
            number(self.table.len()),
            number(Calibration::LEN),
            used,
        ] {
            out.extend_from_slice(&head.to_le_bytes());
        }
        out.extend_from_slice(&self.events.to_le_bytes());
        out.extend_from_slice(&self.calendar.wall_day.to_le_bytes());
        out.extend_from_slice(&self.calendar.active.to_le_bytes());
        out.extend_from_slice(&self.calendar.day.to_le_bytes());
        for count in self.calibration.bins() {
            out.extend_from_slice(&count.to_le_bytes());
        }
        for (place, slot) in self.table.used() {
            write_slot(&mut out, place, slot);
        }
        out.extend_from_slice(&number(self.refusals.used().count()).to_le_bytes());
        for (place, entry) in self.refusals.used() {
            write_refusals(&mut out, place, entry);
        }
        write_lines(&mut out, &self.lines);
        self.windows.write(&mut out);
        self.late.write(&mut out);
        self.shares.write(&mut out);
        write_fleet(&mut out, &self.fleet);
        self.sessions.write(&mut out);
        out.extend_from_slice(&self.keys.checksum(&out));
        out
    }

    /// Whether a snapshot is of a format from before command lines were learned: what it does not hold is
    /// learned anew.
    pub fn is_of_older_format(snapshot: &[u8]) -> bool {
        let format = snapshot
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.first_chunk());
        format.is_some_and(|format| u32::from_le_bytes(*format) < LINES_SINCE)
    }

    /// A scorer that goes on where the snapshot's stood. The settings must have the secret and the
    /// number of slots of that time.
    pub fn restore(settings: Settings, snapshot: &[u8]) -> Result<Self, SnapshotError> {
        let mut rest = Reader {
            bytes: checked(&settings, snapshot)?,
        };
        let mut scorer = Self::new(settings);
        let (slots, bins, used) = (rest.u32()?, rest.u32()?, rest.u32()?);
        refuse_other_size(&scorer.table, slots)?;
        scorer.events = u64::from_le_bytes(rest.take()?);
        scorer.calendar = rest.calendar()?;
        scorer.calibration = rest.calibration(bins)?;
        rest.slots(used, &mut scorer.table, scorer.calendar.day)?;
        // Snapshots from before refused logins were remembered end here, those of format 1 behind them.
        if !rest.bytes.is_empty() {
            rest.refusals(&mut scorer.refusals)?;
        }
        if !Self::is_of_older_format(snapshot) {
            rest.lines(&mut scorer.lines)?;
            let windows = Windows::read(&mut rest.bytes);
            scorer.windows = windows.ok_or(malformed("its change windows cannot be read"))?;
            let late = Late::read(&mut rest.bytes);
            scorer.late = late.ok_or(malformed("its rare scores cannot be read"))?;
            let shares = Shares::read(&mut rest.bytes);
            scorer.shares = shares.ok_or(malformed("its shares cannot be read"))?;
        }
        // Those of format 2 end here.
        if !rest.bytes.is_empty() {
            rest.fleet(&mut scorer.fleet)?;
        }
        // And those of format 3 here.
        if !rest.bytes.is_empty() {
            let sessions = Sessions::read(&mut rest.bytes);
            scorer.sessions = sessions.ok_or(malformed("its sessions cannot be read"))?;
        }
        if rest.bytes.is_empty() {
            Ok(scorer)
        } else {
            Err(malformed("bytes follow the end"))
        }
    }
}

/// Why bytes are not a state that can be taken up again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SnapshotError {
    /// It ends too early.
    #[error("the snapshot has {got} bytes where at least {expected} are needed")]
    Truncated {
        /// What is needed.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// It begins with something else.
    #[error("these bytes are not a snapshot of a scorer")]
    NotASnapshot,
    /// It is of another version of the format.
    #[error("the snapshot has the format {got}, this program reads {expected}")]
    Version {
        /// What is read.
        expected: u32,
        /// What came.
        got: u32,
    },
    /// It is damaged, or belongs to another host.
    #[error("the checksum does not fit: the snapshot is damaged or was made with another secret")]
    Checksum,
    /// The table has another size.
    #[error("the snapshot has {got} slots, the settings ask for {expected}")]
    Slots {
        /// What the settings ask for.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// A part contradicts the rest.
    #[error("the snapshot contradicts itself: {what}")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
}

/// The snapshot without what only proves it: its head and its checksum.
fn checked<'s>(settings: &Settings, snapshot: &'s [u8]) -> Result<&'s [u8], SnapshotError> {
    let too_short = SnapshotError::Truncated {
        expected: FIXED_BYTES,
        got: snapshot.len(),
    };
    let content = snapshot
        .strip_prefix(MAGIC)
        .ok_or(SnapshotError::NotASnapshot)?;
    let (format, content) = content.split_first_chunk().ok_or(too_short)?;
    let format = u32::from_le_bytes(*format);
    if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
        return Err(SnapshotError::Version {
            expected: FORMAT,
            got: format,
        });
    }
    let (content, _) = content
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or(too_short)?;
    let (bytes, checksum) = snapshot.split_last_chunk().ok_or(too_short)?;
    if Keys::new(settings.host_secret).checksum(bytes) != *checksum {
        return Err(SnapshotError::Checksum);
    }
    Ok(content)
}

fn refuse_other_size(table: &Table, slots: u32) -> Result<(), SnapshotError> {
    let got = usize::try_from(slots).unwrap_or(usize::MAX);
    let expected = table.len();
    if got == expected {
        Ok(())
    } else {
        Err(SnapshotError::Slots { expected, got })
    }
}

fn write_slot(out: &mut Vec<u8>, place: usize, slot: &Slot) {
    out.extend_from_slice(&number(place).to_le_bytes());
    out.extend_from_slice(&slot.key.to_le_bytes());
    out.extend_from_slice(&slot.count.to_le_bytes());
    out.extend_from_slice(&slot.usual.to_le_bytes());
    for short in [slot.distinct, slot.days, slot.last_day, slot.today] {
        out.extend_from_slice(&short.to_le_bytes());
    }
}

fn write_refusals(out: &mut Vec<u8>, place: usize, entry: &Entry) {
    out.extend_from_slice(&number(place).to_le_bytes());
    out.extend_from_slice(&entry.source.to_le_bytes());
    out.extend_from_slice(&entry.users.to_le_bytes());
    out.extend_from_slice(&entry.day.to_le_bytes());
    out.extend_from_slice(&entry.refused.to_le_bytes());
}

fn write_lines(out: &mut Vec<u8>, lines: &Lines) {
    let (empty, slots) = lines.text.parts();
    for head in [number(slots.len()), empty.followed, empty.distinct] {
        out.extend_from_slice(&head.to_le_bytes());
    }
    for eight in slots.chunks(8) {
        let used = (0_u8..).zip(eight).filter(|(_, slot)| slot.key != 0);
        out.push(used.fold(0, |mask, (place, _)| mask | 1 << place));
        for slot in eight.iter().filter(|slot| slot.key != 0) {
            for short in [slot.key, slot.count, slot.followed, slot.distinct] {
                out.extend_from_slice(&short.to_le_bytes());
            }
        }
    }
    let (sets, day) = lines.days.parts();
    out.extend_from_slice(&day.to_le_bytes());
    for word in sets.iter().flatten() {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.push(u8::try_from(lines.held.len()).unwrap_or(u8::MAX));
    for line in &lines.held {
        out.extend_from_slice(&u16::try_from(line.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(line);
    }
}

fn write_fleet(out: &mut Vec<u8>, fleet: &Fleet) {
    let Some(secret) = fleet.secret() else {
        out.push(0);
        return;
    };
    out.push(1);
    out.extend_from_slice(secret.as_bytes());
    out.extend_from_slice(&number(fleet.own.used().count()).to_le_bytes());
    for (place, pair, seen) in fleet.own.used() {
        out.extend_from_slice(&number(place).to_le_bytes());
        out.extend_from_slice(&pair.context.to_le_bytes());
        out.extend_from_slice(&pair.value.to_le_bytes());
        out.extend_from_slice(&seen.days.to_le_bytes());
        out.extend_from_slice(&seen.last.to_le_bytes());
    }
}

/// What is left to read.
struct Reader<'s> {
    bytes: &'s [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (head, rest) = self
            .bytes
            .split_first_chunk()
            .ok_or(malformed("it ends within a number"))?;
        self.bytes = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, SnapshotError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, SnapshotError> {
        self.take().map(u16::from_le_bytes)
    }

    fn calendar(&mut self) -> Result<Calendar, SnapshotError> {
        let wall_day = i32::from_le_bytes(self.take()?);
        Ok(Calendar {
            wall_day,
            active: self.u32()?,
            day: self.u16()?,
        })
    }

    fn calibration(&mut self, bins: u32) -> Result<Calibration, SnapshotError> {
        let most = number(Calibration::LEN);
        if bins > most {
            return Err(malformed("it has more histograms than there are factors"));
        }
        // Factors are only ever added, behind the others.
        let known = (0..bins).map(|_| self.u32());
        let mut bins = known.collect::<Result<Vec<_>, _>>()?;
        bins.resize(Calibration::LEN, 0);
        Calibration::from_bins(bins).ok_or(malformed("a histogram holds too much"))
    }

    fn slots(&mut self, used: u32, table: &mut Table, day: u16) -> Result<(), SnapshotError> {
        for _ in 0..used {
            let place = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
            let slot = self.slot()?;
            if slot.last_day > day || !table.put(place, slot) {
                return Err(malformed("a count lies where it cannot"));
            }
        }
        Ok(())
    }

    fn refusals(&mut self, refusals: &mut Refusals) -> Result<(), SnapshotError> {
        for _ in 0..self.u32()? {
            let place = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
            let entry = Entry {
                source: u64::from_le_bytes(self.take()?),
                users: u64::from_le_bytes(self.take()?),
                day: i32::from_le_bytes(self.take()?),
                refused: self.u32()?,
            };
            if !refusals.put(place, entry) {
                return Err(malformed("a source lies where it cannot"));
            }
        }
        Ok(())
    }

    fn lines(&mut self, lines: &mut Lines) -> Result<(), SnapshotError> {
        let (slots, followed, distinct) = (self.u32()?, self.u32()?, self.u32()?);
        if slots != number(lines.text.parts().1.len()) {
            return Err(malformed("it has another number of strings"));
        }
        let empty = Context { followed, distinct };
        let slots = usize::try_from(slots).unwrap_or_default();
        for place in (0..slots).step_by(8) {
            let [mask] = self.take()?;
            for bit in (0..8).filter(|bit| mask & (1 << bit) != 0) {
                let string = strings::Slot {
                    key: self.u16()?,
                    count: self.u16()?,
                    followed: self.u16()?,
                    distinct: self.u16()?,
                };
                if !lines.text.put(empty, place + bit, string) {
                    return Err(malformed("a string lies where it cannot"));
                }
            }
        }
        let day = self.u16()?;
        let mut set = || (0..Days::WORDS).map(|_| self.u64()).collect();
        let sets: [Result<Vec<u64>, SnapshotError>; 3] = [set(), set(), set()];
        let [today, recent, old] = sets;
        let days = Days::from_parts([today?, recent?, old?], day);
        lines.days = days.ok_or(malformed("its sets of lines have another size"))?;
        let [held] = self.take()?;
        for _ in 0..held {
            let length = usize::from(self.u16()?);
            let line = self.bytes.split_at_checked(length);
            let (line, rest) = line.ok_or(malformed("it ends within a line"))?;
            lines.held.push(line.to_vec());
            self.bytes = rest;
        }
        Ok(())
    }

    fn fleet(&mut self, fleet: &mut Fleet) -> Result<(), SnapshotError> {
        let [joined] = self.take()?;
        if joined == 0 {
            return Ok(());
        }
        fleet.join(FleetSecret::new(self.take()?));
        for _ in 0..self.u32()? {
            let place = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
            let (context, value) = (self.u64()?, self.u64()?);
            let (days, last) = (self.u16()?, self.u16()?);
            let seen = Sighting { days, last };
            if !fleet.own.put(place, Pair { context, value }, seen) {
                return Err(malformed("what is told to the fleet lies where it cannot"));
            }
        }
        Ok(())
    }

    fn u64(&mut self) -> Result<u64, SnapshotError> {
        self.take().map(u64::from_le_bytes)
    }

    fn slot(&mut self) -> Result<Slot, SnapshotError> {
        Ok(Slot {
            key: u64::from_le_bytes(self.take()?),
            count: self.u32()?,
            usual: self.u32()?,
            distinct: self.u16()?,
            days: self.u16()?,
            last_day: self.u16()?,
            today: self.u16()?,
        })
    }
}

const fn malformed(what: &'static str) -> SnapshotError {
    SnapshotError::Malformed { what }
}

/// A number that fits: a table has at most 2 to the power of 18 slots.
fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

const MAGIC: &[u8; 8] = b"PKTSCORE";
const FORMAT: u32 = 4;
/// The first format with command lines.
const LINES_SINCE: u32 = 2;
const OLDEST_FORMAT: u32 = 1;
const CHECKSUM_BYTES: usize = 16;
const SLOT_BYTES: usize = 28;
/// Everything but the slots.
const FIXED_BYTES: usize = 8 + 4 * 4 + 8 + 4 + 4 + 2 + 4 * Calibration::LEN + CHECKSUM_BYTES;

#[cfg(test)]
mod tests {
    use picket_event::{Detail, Event, Kind, Login, Source, UnixNanos};

    use super::*;

    /// A small scorer that knows nothing, and an event for it.
    fn small() -> (Settings, Scorer, Event) {
        let settings = Settings {
            slots: 1 << 10,
            ..Settings::new([3; 16])
        };
        let event = Event::new(Kind::AccountSwitch, UnixNanos(5), Source::Replay);
        let event = event.with(Detail::Login(Login {
            user: "ann".into(),
            target_user: "root".into(),
            ..Login::default()
        }));
        (settings, Scorer::new(settings), event)
    }

    #[test]
    fn a_snapshot_from_before_three_factors_and_the_refusals_is_taken_up() {
        let (settings, mut scorer, event) = small();
        for _ in 0..9 {
            scorer.step(event.time, &event);
        }
        let new = scorer.snapshot();
        let histograms = 8 + 4 * 4 + 8 + 4 + 4 + 2;
        let (kept, dropped) = (
            number(Calibration::LEN) * 19 / 24,
            Calibration::LEN * 5 / 24,
        );
        let end = histograms + 4 * Calibration::LEN;
        let used = SLOT_BYTES * scorer.table.used().count();
        let mut old = new[..end - 4 * dropped].to_vec();
        old[8..12].copy_from_slice(&1_u32.to_le_bytes());
        old[16..20].copy_from_slice(&kept.to_le_bytes());
        old.extend_from_slice(&new[end..end + used]);
        old.extend_from_slice(&scorer.keys.checksum(&old));
        assert!(Scorer::is_of_older_format(&old) && !Scorer::is_of_older_format(&new));
        let mut restored = Scorer::restore(settings, &old).unwrap();
        assert_eq!(
            restored.step(event.time, &event),
            scorer.step(event.time, &event)
        );
    }

    #[test]
    fn a_snapshot_from_before_the_fleet_or_the_sessions_is_taken_up() {
        let (settings, mut scorer, event) = small();
        scorer.step(event.time, &event);
        let new = scorer.snapshot();
        let mut sessions = Vec::new();
        scorer.sessions.write(&mut sessions);
        let behind_the_fleet = new.len() - CHECKSUM_BYTES - sessions.len();
        for (format, end) in [(2_u32, behind_the_fleet - 1), (3, behind_the_fleet)] {
            let mut old = new[..end].to_vec();
            old[8..12].copy_from_slice(&format.to_le_bytes());
            old.extend_from_slice(&scorer.keys.checksum(&old));
            assert!(!Scorer::is_of_older_format(&old));
            let restored = Scorer::restore(settings, &old).unwrap();
            assert_eq!(
                (restored.snapshot(), restored.sketch()),
                (new.clone(), None)
            );
        }
    }
}
