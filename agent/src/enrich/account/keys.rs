//! `authorized_keys` of sshd(8): each key by its fingerprint.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use picket_seal::Digest;

use super::{Note, Record, Subject, lines};

/// The keys of a file that belongs to `owner`.
pub(super) fn keys(bytes: &[u8], owner: &[u8]) -> Note {
    let mut note = Note::new();
    for line in lines(bytes).filter(|line| !line.is_empty() && !line.starts_with(b"#")) {
        let (options, rest) = without_options(line);
        let mut words = rest.splitn(3, u8::is_ascii_whitespace);
        let (kind, blob) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let comment = words.next().unwrap_or_default().trim_ascii();
        let fingerprint = fingerprint(blob);
        let fields = [
            ("fingerprint", fingerprint.as_slice()),
            ("type", kind),
            ("comment", comment),
            ("options", options),
        ];
        let said = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let record = Record {
            account: owner.to_vec(),
            fields: said.map(|(name, value)| (name, value.to_vec())).collect(),
            secret: None,
        };
        let object = "ssh_key";
        let key = if fingerprint.is_empty() {
            line.to_vec()
        } else {
            fingerprint
        };
        note.insert(Subject { object, key }, record);
    }
    note
}

/// Options stand before the type; blanks within quotes belong to them.
fn without_options(line: &[u8]) -> (&[u8], &[u8]) {
    if is_type(line) {
        return (b"", line);
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if byte.is_ascii_whitespace() && !quoted => {
                let (options, rest) = line.split_at(at);
                return (options, rest.trim_ascii_start());
            }
            _ => {}
        }
    }
    (b"", line)
}

fn is_type(line: &[u8]) -> bool {
    [&b"ssh-"[..], b"ecdsa-", b"sk-"]
        .iter()
        .any(|begin| line.starts_with(begin))
}

/// As ssh-keygen(1) writes it. Empty if this is no key.
fn fingerprint(blob: &[u8]) -> Vec<u8> {
    match STANDARD.decode(blob) {
        Ok(key) if !key.is_empty() => {
            let digest = STANDARD_NO_PAD.encode(Digest::of(&key).as_bytes());
            format!("SHA256:{digest}").into_bytes()
        }
        _ => Vec::new(),
    }
}
