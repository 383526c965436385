//! Services of systemd and the units that start them (timers, sockets, paths): as whom, when, what.
//!
//! What stays true: sections, keys, comments, continued lines and empty assignments, which forget the
//! ones before, count as in systemd.syntax(7); what is not asked for is passed over.

use super::Entry;

/// Settings of a unit that are kept.
const MAX_SETTINGS: usize = 128;

/// A kind of unit that starts another one.
struct Trigger {
    section: &'static [u8],
    suffix: &'static [u8],
    is_condition: fn(&[u8]) -> bool,
    /// The setting that names the unit that is started, if it is not the service of the same name.
    starts: &'static [u8],
}

const TRIGGERS: [Trigger; 3] = [
    Trigger {
        section: b"Timer",
        suffix: b".timer",
        is_condition: |key| key.starts_with(b"On"),
        starts: b"Unit",
    },
    Trigger {
        section: b"Socket",
        suffix: b".socket",
        is_condition: |key| key.starts_with(b"Listen"),
        starts: b"Service",
    },
    Trigger {
        section: b"Path",
        suffix: b".path",
        is_condition: |key| key.starts_with(b"Path") || key == b"DirectoryNotEmpty",
        starts: b"Unit",
    },
];

/// Whether a name is that of a unit that says what runs, or when.
pub(super) fn is_unit(name: &[u8]) -> bool {
    let triggers = || {
        TRIGGERS
            .iter()
            .any(|trigger| name.ends_with(trigger.suffix))
    };
    !name.starts_with(b".") && (name.ends_with(b".service") || triggers())
}

/// What a unit, or a part of one, schedules.
pub(super) fn entry(name: &[u8], bytes: &[u8], system: bool) -> Option<Entry> {
    let settings = settings(bytes);
    if bytes.trim_ascii().is_empty() {
        return None;
    }
    if let Some(entry) = TRIGGERS
        .iter()
        .find_map(|trigger| triggered(trigger, name, &settings))
    {
        return Some(entry);
    }
    let started = commands(&settings);
    let by = all(&settings, b"Install", |key| {
        matches!(key, b"WantedBy" | b"RequiredBy" | b"UpheldBy")
    });
    Some(Entry {
        schedule: with_keys(&by),
        user: match last(&settings, b"Service", b"User") {
            Some(user) => user.to_vec(),
            None if system && !started.is_empty() => b"root".to_vec(),
            None => Vec::new(),
        },
        command: started,
    })
}

/// When a unit of this kind starts which other one. `None` if it is not of this kind.
fn triggered(trigger: &Trigger, name: &[u8], settings: &[Setting<'_>]) -> Option<Entry> {
    let conditions = all(settings, trigger.section, trigger.is_condition);
    let command = match last(settings, trigger.section, trigger.starts) {
        Some(unit) => unit.to_vec(),
        None => service_of(name, trigger.suffix, settings),
    };
    let is_it = !conditions.is_empty();
    is_it.then(|| Entry {
        schedule: with_keys(&conditions),
        user: Vec::new(),
        command,
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
        b"Install" => true,
        b"Socket" if key == b"Accept" => true,
        _ => TRIGGERS.iter().any(|trigger| {
            section == trigger.section && ((trigger.is_condition)(key) || key == trigger.starts)
        }),
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

/// The service of the same name; of a socket that accepts by itself, one for each connection.
fn service_of(name: &[u8], suffix: &[u8], settings: &[Setting<'_>]) -> Vec<u8> {
    let stem = name.strip_suffix(suffix).unwrap_or(name);
    let accepts = last(settings, b"Socket", b"Accept");
    let each =
        accepts.is_some_and(|value| matches!(value, b"yes" | b"true" | b"on" | b"1" | b"y" | b"t"));
    [stem, if each { b"@" } else { b"" }, b".service"].concat()
}
