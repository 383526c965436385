//! passwd(5), shadow(5), group(5), gshadow(5): a line per name, its fields between colons.

use picket_seal::Digest;

use super::{Note, Record, Subject, lines};

/// `name:password:uid:gid:comment:home:shell`
pub(super) fn passwd(bytes: &[u8]) -> Note {
    const FIELDS: [&str; 6] = ["password", "uid", "gid", "comment", "home", "shell"];
    table(bytes, "user", &FIELDS)
}

/// `name:password:changed:min:max:warn:inactive:expires:`; days since 1970, and days.
pub(super) fn shadow(bytes: &[u8]) -> Note {
    const FIELDS: [&str; 7] = [
        "password", "changed", "min", "max", "warn", "inactive", "expires",
    ];
    table(bytes, "password", &FIELDS)
}

/// `name:password:gid:members`
pub(super) fn group(bytes: &[u8]) -> Note {
    table(bytes, "group", &["password", "gid", "members"])
}

/// `name:password:administrators:members`
pub(super) fn gshadow(bytes: &[u8]) -> Note {
    const FIELDS: [&str; 3] = ["password", "administrators", "members"];
    table(bytes, "group_password", &FIELDS)
}

/// The first line of a name counts, as for the C library.
fn table(bytes: &[u8], object: &'static str, names: &[&'static str]) -> Note {
    let mut note = Note::new();
    for line in lines(bytes) {
        let mut fields = line.split(|byte| *byte == b':');
        let Some(name) = fields.next().filter(|name| !name.is_empty()) else {
            continue;
        };
        let subject = Subject {
            object,
            key: name.to_vec(),
        };
        note.entry(subject)
            .or_insert_with(|| record(name, names, fields));
    }
    note
}

fn record<'a>(
    account: &[u8],
    names: &[&'static str],
    values: impl Iterator<Item = &'a [u8]>,
) -> Record {
    let mut record = Record {
        account: account.to_vec(),
        ..Record::default()
    };
    for (name, value) in names.iter().zip(values) {
        if *name == "password" {
            record.secret = is_secret(value).then(|| Digest::of(value));
            record.fields.push((name, state_of(value)));
        } else if !value.is_empty() {
            record.fields.push((name, value.to_vec()));
        }
    }
    record
}

/// A placeholder is no secret.
fn is_secret(password: &[u8]) -> bool {
    !matches!(password, b"" | b"x" | b"*" | b"!" | b"!!" | b"!*")
}

/// What may be said of a password: whether there is one, by which method it is kept, whether it is locked.
fn state_of(password: &[u8]) -> Vec<u8> {
    let kept = password.trim_ascii_start();
    let unlocked = kept
        .strip_prefix(b"!")
        .map(|rest| rest.strip_prefix(b"!").unwrap_or(rest));
    let method = method_of(unlocked.unwrap_or(kept));
    match (kept, unlocked) {
        (b"x", _) => b"elsewhere".to_vec(),
        (b"", _) => b"empty".to_vec(),
        (_, Some(b"" | b"*")) | (b"*", _) => b"none".to_vec(),
        (_, Some(_)) => [b"locked,", method].concat(),
        (_, None) => method.to_vec(),
    }
}

/// crypt(5) names its methods by prefix.
const fn method_of(password: &[u8]) -> &'static [u8] {
    match password {
        [b'$', b'y', b'$', ..] => b"yescrypt",
        [b'$', b'g', b'y', b'$', ..] => b"gost-yescrypt",
        [b'$', b'7', b'$', ..] => b"scrypt",
        [b'$', b'2', _, b'$', ..] => b"bcrypt",
        [b'$', b'6', b'$', ..] => b"sha512crypt",
        [b'$', b'5', b'$', ..] => b"sha256crypt",
        [b'$', b'1', b'$', ..] => b"md5crypt",
        [b'$', ..] => b"other",
        [b'_', ..] => b"bsdicrypt",
        _ => b"descrypt",
    }
}
