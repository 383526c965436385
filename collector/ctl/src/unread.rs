//! What an answer lacks because sealed files of the collector cannot be read.
//!
//! # Invariants
//!
//! - An answer that lacks something says so on stderr and ends with the exit code of a failure, after all that there is was printed.

use picket_event::{Class, UnixNanos};
use picket_proto::v1;

use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::sentence::moment;

/// Says what an answer lacks, and how the command ends.
pub(crate) fn end(unread: &[v1::UnreadFile]) -> Result<(), Failure> {
    tell(unread);
    if unread.is_empty() {
        return Ok(());
    }
    Err(Failure::silent(Exit::Failed))
}

/// Says what an answer lacks.
pub(crate) fn tell(unread: &[v1::UnreadFile]) {
    for line in lines(unread) {
        note(&line);
    }
}

fn lines(unread: &[v1::UnreadFile]) -> Vec<String> {
    let mut lines: Vec<String> = unread.iter().take(NAMED).map(line).collect();
    let more = unread.get(NAMED..).unwrap_or_default();
    if !more.is_empty() {
        let events = more.iter().map(|file| file.events);
        let events = events.fold(0, u64::saturating_add);
        lines.push(format!(
            "picketctl: warning: the answer is incomplete: {} more files with {events} events",
            more.len()
        ));
    }
    if unread.iter().any(|file| !file.lost) {
        lines.push("hint: the collector seals these events anew from its log, if that still has them; ask again in a minute, and see the collector's own messages".to_owned());
    }
    lines
}

fn line(file: &v1::UnreadFile) -> String {
    let class = Class::from_wire(file.class).map_or("unknown", Class::name);
    let [first, last] = [file.first_unix_ns, file.last_unix_ns].map(|time| moment(UnixNanos(time)));
    let (events, name, why) = (file.events, &file.file, &file.why);
    let which = format!("{events} events of class {class} from {first} to {last}");
    if file.lost {
        return format!(
            "picketctl: warning: the answer is incomplete: {which} are lost: sealed/{name} was damaged and the log no longer has them"
        );
    }
    format!(
        "picketctl: warning: the answer is incomplete: sealed/{name} with {which} cannot be read: {why}"
    )
}

/// Files that are named one by one.
const NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_how_much_and_when() {
        let file = |number: u64, lost| v1::UnreadFile {
            file: format!("class=bulk/day=1970-01-01/hour=00/events-{number:010}.parquet"),
            number,
            class: Class::Bulk.to_wire(),
            events: 7,
            first_unix_ns: 1_000_000_000,
            last_unix_ns: 2_000_000_000,
            lost,
            why: "it has 3 bytes in place of 4".to_owned(),
        };
        assert!(lines(&[]).is_empty());
        let one = lines(&[file(1, false)]);
        assert!(one[0].contains("events-0000000001.parquet with 7 events of class bulk from"));
        assert!(one[0].ends_with("cannot be read: it has 3 bytes in place of 4"));
        assert_eq!(one.len(), 2);
        assert!(lines(&[file(1, true)])[0].contains("are lost"));
        let many: Vec<_> = (0..9).map(|number| file(number, true)).collect();
        let told = lines(&many);
        assert_eq!(told.len(), NAMED + 1);
        assert!(told[NAMED].ends_with("4 more files with 28 events"));
    }
}
