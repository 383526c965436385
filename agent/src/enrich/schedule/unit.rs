//! Services and timers of systemd: as whom, when, what.
//!
//! What stays true: sections, keys, comments, continued lines and empty assignments, which forget the
//! ones before, count as in systemd.syntax(7); what is not asked for is passed over.

use super::Entry;

/// Settings of a unit that are kept.
const MAX_SETTINGS: usize = 128;

/// What a unit, or a part of one, schedules.
pub(super) fn entry(name: &[u8], bytes: &[u8], system: bool) -> Option<Entry> {
    let settings = settings(bytes);
    let timed = all(&settings, b"Timer", |key| key.starts_with(b"On"));
    let started = commands(&settings);
    let by = all(&settings, b"Install", |key| {
        matches!(key, b"WantedBy" | b"RequiredBy" | b"UpheldBy")
    });
    if bytes.trim_ascii().is_empty() {
        return None;
    }
    let is_timer = !timed.is_empty();
    Some(Entry {
        schedule: with_keys(if is_timer { &timed } else { &by }),
        user: match last(&settings, b"Service", b"User") {
            Some(user) => user.to_vec(),
            None if system && !started.is_empty() => b"root".to_vec(),
            None => Vec::new(),
        },
        command: match (is_timer, last(&settings, b"Timer", b"Unit")) {
            (true, Some(unit)) => unit.to_vec(),
            (true, None) => service_of(name),
            (false, _) => started,
        },
    })
}

/// A link by which `by` starts the unit, of which this is the content.
pub(super) fn wanted(name: &[u8], by: &[u8], bytes: &[u8]) -> Entry {
    let found = entry(name, bytes, true).unwrap_or_default();
    Entry {
        schedule: [b"WantedBy=", by].concat(),
        command: match found.command {
            command if command.is_empty() => name.to_vec(),
            command => command,
        },
        user: found.user,
    }
}

struct Setting<'a> {
    section: &'a [u8],
    key: &'a [u8],
    value: Vec<u8>,
}

fn settings(bytes: &[u8]) -> Vec<Setting<'_>> {
    let mut settings: Vec<Setting<'_>> = Vec::new();
    let mut section = &b""[..];
    let mut lines = bytes.split(|byte| *byte == b'\n');
    while let Some(line) = lines.next() {
        let line = line.trim_ascii();
        if let Some(name) = line.strip_prefix(b"[") {
            section = name.strip_suffix(b"]").unwrap_or_default();
            continue;
        }
        if line.is_empty() || is_comment(line) {
            continue;
        }
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (key, value) = line.split_at(equals);
        let key = key.trim_ascii();
        let value = continued(value.get(1..).unwrap_or_default(), &mut lines);
        if value.is_empty() {
            settings.retain(|setting| setting.section != section || setting.key != key);
        } else if settings.len() < MAX_SETTINGS && is_asked_for(section, key) {
            settings.push(Setting {
                section,
                key,
                value,
            });
        }
    }
    settings
}

fn is_comment(line: &[u8]) -> bool {
    matches!(line.first(), Some(b'#' | b';'))
}

fn is_asked_for(section: &[u8], key: &[u8]) -> bool {
    match section {
        b"Service" => key.starts_with(b"Exec") || key == b"User",
        b"Timer" => key.starts_with(b"On") || key == b"Unit",
        b"Install" => true,
        _ => false,
    }
}

/// A backslash at the end takes the next line in; comments between do not count.
fn continued<'a>(first: &[u8], lines: &mut impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut value = first.trim_ascii().to_vec();
    while value.last() == Some(&b'\\') {
        value.pop();
        let Some(next) = lines.by_ref().find(|line| !is_comment(line.trim_ascii())) else {
            break;
        };
        let kept = value.trim_ascii_end().len();
        value.truncate(kept);
        value.push(b' ');
        value.extend_from_slice(next.trim_ascii());
    }
    value.trim_ascii().to_vec()
}

fn all<'a, 'b>(
    settings: &'b [Setting<'a>],
    section: &[u8],
    is_meant: impl Fn(&[u8]) -> bool,
) -> Vec<&'b Setting<'a>> {
    let of_section = settings.iter().filter(|setting| setting.section == section);
    of_section.filter(|setting| is_meant(setting.key)).collect()
}

fn last<'b>(settings: &'b [Setting<'_>], section: &[u8], key: &[u8]) -> Option<&'b [u8]> {
    let found = all(settings, section, |name| name == key);
    found.last().map(|setting| &setting.value[..])
}

/// Everything that it runs, in the order in which it is written.
fn commands(settings: &[Setting<'_>]) -> Vec<u8> {
    let found = all(settings, b"Service", |key| key.starts_with(b"Exec"));
    let values: Vec<&[u8]> = found.iter().map(|setting| &setting.value[..]).collect();
    values.join(&b"; "[..])
}

fn with_keys(found: &[&Setting<'_>]) -> Vec<u8> {
    let texts: Vec<Vec<u8>> = found
        .iter()
        .map(|setting| [setting.key, b"=", &setting.value].concat())
        .collect();
    texts.join(&b"; "[..])
}

fn service_of(timer: &[u8]) -> Vec<u8> {
    let stem = timer.strip_suffix(b".timer").unwrap_or(timer);
    [stem, b".service"].concat()
}
