//! Which paths matter: the kernel's coarse question and user space's exact answer.
//!
//! The kernel compares the first 255 bytes of a path with a trie, and the last name of an opened file
//! with another. What passes is decided here by the whole path.
//!
//! # Invariants
//!
//! - The kernel's filter lets through at least what [`Watch`] accepts.
//! - Paths are compared as bytes, after `.`, `..` and doubled slashes are taken out. Symbolic links in
//!   configured paths are resolved once, when the sensor starts; both forms count.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::Secret;

/// The folders that are watched unless the configuration says otherwise: where programs, their
/// configuration and their start are kept, homes, and what everybody can write to.
pub fn default_watch() -> Vec<PathBuf> {
    DEFAULT_WATCH.iter().map(PathBuf::from).collect()
}

/// The secrets that are watched unless the configuration says otherwise: password hashes, sudo's
/// rules, private keys of hosts and users, service account tokens.
pub fn default_secrets() -> Vec<Secret> {
    let files = ["/etc/shadow", "/etc/gshadow", "/etc/sudoers"];
    let named = [("ssh", "ssh_host_"), (".ssh", "id_")];
    let tokens = [
        "/run/secrets/kubernetes.io",
        "/var/run/secrets/kubernetes.io",
        "/var/lib/kubelet/pods",
    ];
    let files = files.into_iter().map(|path| Secret::File(path.into()));
    let named = named.into_iter().map(|(folder, prefix)| Secret::Named {
        folder: folder.to_owned(),
        prefix: prefix.to_owned(),
    });
    let tokens = tokens.into_iter().map(|folder| Secret::Below {
        folder: folder.into(),
        name: "token".to_owned(),
    });
    files.chain(named).chain(tokens).collect()
}

/// What is watched, with every form of every path.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    watched: Vec<Vec<u8>>,
    secrets: Vec<Secret>,
}

/// A key of one of the kernel's tries with its value.
pub type TrieEntry = (Vec<u8>, u32);

impl Watch {
    /// From the configuration.
    pub fn new(watch: &[PathBuf], secrets: &[Secret]) -> Self {
        let watched = watch.iter().flat_map(|path| forms_of(path)).collect();
        let secrets = secrets.iter().flat_map(forms_of_secret).collect();
        Self { watched, secrets }
    }

    /// Whether changes at this path are events.
    pub fn is_watched(&self, path: &[u8]) -> bool {
        self.watched.iter().any(|root| is_at_or_below(path, root))
    }

    /// Whether opening this path is an event.
    pub fn is_secret(&self, path: &[u8]) -> bool {
        self.secrets.iter().any(|secret| matches(secret, path))
    }

    /// Whether whole folders are secret.
    pub fn has_secret_trees(&self) -> bool {
        self.secrets
            .iter()
            .any(|secret| matches!(secret, Secret::Tree(_)))
    }

    /// The kernel's trie of paths.
    pub fn path_entries(&self) -> Vec<TrieEntry> {
        let mut keys: Vec<TrieEntry> = Vec::new();
        for root in &self.watched {
            keys.push((key_text(root, b'/'), WATCHED));
            keys.push((key_text(root, 0), WATCHED));
        }
        for secret in &self.secrets {
            if let Secret::Tree(folder) = secret {
                keys.push((key_text(folder.as_os_str().as_bytes(), b'/'), SECRET));
            }
        }
        with_inherited(&keys)
            .into_iter()
            .map(|(text, flags)| (trie_key(&text), flags))
            .collect()
    }

    /// The kernel's trie of last names that secrets may have.
    pub fn name_entries(&self) -> Vec<TrieEntry> {
        let names = self.secrets.iter().filter_map(last_name);
        names.map(|text| (trie_key(&text), SECRET)).collect()
    }
}

/// The path without `.`, `..` and doubled slashes. Symbolic links are not followed.
pub fn normalized(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for part in parts {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// The path as configured, and with its links resolved where that is another.
fn forms_of(path: &Path) -> Vec<Vec<u8>> {
    let mut forms = vec![normalized(path.as_os_str().as_bytes())];
    if let Ok(real) = fs::canonicalize(path) {
        let real = real.as_os_str().as_bytes().to_vec();
        if !forms.contains(&real) {
            forms.push(real);
        }
    }
    forms
}

fn forms_of_secret(secret: &Secret) -> Vec<Secret> {
    let paths = |path: &Path| -> Vec<PathBuf> {
        let forms = forms_of(path).into_iter();
        forms.map(|form| path_from(&form)).collect()
    };
    match secret {
        Secret::File(path) => paths(path).into_iter().map(Secret::File).collect(),
        Secret::Tree(path) => paths(path).into_iter().map(Secret::Tree).collect(),
        Secret::Named { .. } => vec![secret.clone()],
        Secret::Below { folder, name } => paths(folder)
            .into_iter()
            .map(|folder| Secret::Below {
                folder,
                name: name.clone(),
            })
            .collect(),
    }
}

fn path_from(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

fn is_at_or_below(path: &[u8], root: &[u8]) -> bool {
    if root == b"/" {
        return true;
    }
    match path.strip_prefix(root) {
        Some(rest) => matches!(rest.first(), None | Some(b'/')),
        None => false,
    }
}

fn matches(secret: &Secret, path: &[u8]) -> bool {
    match secret {
        Secret::File(file) => file.as_os_str().as_bytes() == path,
        Secret::Tree(folder) => is_at_or_below(path, folder.as_os_str().as_bytes()),
        Secret::Named { folder, prefix } => {
            let mut parts = path.rsplit(|byte| *byte == b'/');
            let name = parts.next().unwrap_or_default();
            name.starts_with(prefix.as_bytes())
                && !name.ends_with(b".pub")
                && parts.next() == Some(folder.as_bytes())
        }
        Secret::Below { folder, name } => {
            is_at_or_below(path, folder.as_os_str().as_bytes())
                && path.rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes())
        }
    }
}

/// The text that the last name of such a secret begins with; a whole name ends in NUL.
fn last_name(secret: &Secret) -> Option<Vec<u8>> {
    match secret {
        Secret::File(path) => Some(key_text(path.file_name()?.as_bytes(), 0)),
        Secret::Tree(_) => None,
        Secret::Named { prefix, .. } => Some(prefix.as_bytes().to_vec()),
        Secret::Below { name, .. } => Some(key_text(name.as_bytes(), 0)),
    }
}

/// The text with its end mark. What is too long is cut, mark and all: the kernel then lets more through.
fn key_text(text: &[u8], end: u8) -> Vec<u8> {
    let text = if text == b"/" { &[] } else { text };
    let mut key = text.to_vec();
    key.push(end);
    key.truncate(KEY_TEXT);
    key
}

/// The trie answers with its longest match only, so a key also says what shorter keys say.
fn with_inherited(keys: &[TrieEntry]) -> Vec<TrieEntry> {
    let flags_of = |text: &[u8]| {
        let shorter = keys.iter().filter(|(other, _)| text.starts_with(other));
        shorter.fold(0, |all, (_, flags)| all | flags)
    };
    keys.iter()
        .map(|(text, _)| (text.clone(), flags_of(text)))
        .collect()
}

/// `struct prefix_key`: how many bits count, and the text.
fn trie_key(text: &[u8]) -> Vec<u8> {
    let bits = u32::try_from(text.len().saturating_mul(8)).unwrap_or(u32::MAX);
    let mut key = bits.to_ne_bytes().to_vec();
    key.extend_from_slice(text);
    key.resize(KEY_SIZE, 0);
    key
}

const WATCHED: u32 = 1;
const SECRET: u32 = 2;
/// `PREFIX_MAX` of `emit.h`, and the size of the key around it.
const KEY_TEXT: usize = 255;
const KEY_SIZE: usize = 4 + 256;

const DEFAULT_WATCH: &[&str] = &[
    "/bin",
    "/boot",
    "/dev/shm",
    "/etc",
    "/home",
    "/lib",
    "/opt",
    "/root",
    "/sbin",
    "/srv",
    "/tmp",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/sbin",
    "/var/spool/cron",
    "/var/tmp",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new(&["/no/such/etc".into()], &default_secrets())
    }

    #[test]
    fn a_folder_is_watched_and_its_namesake_is_not() {
        assert!(watch().is_watched(b"/no/such/etc/passwd"));
        assert!(watch().is_watched(b"/no/such/etc"));
        assert!(!watch().is_watched(b"/no/such/etcetera"));
    }

    #[test]
    fn private_keys_are_secret_and_public_ones_are_not() {
        assert!(watch().is_secret(b"/home/a/.ssh/id_ed25519"));
        assert!(!watch().is_secret(b"/home/a/.ssh/id_ed25519.pub"));
        assert!(!watch().is_secret(b"/home/a/ssh/id_ed25519"));
        assert!(watch().is_secret(b"/etc/ssh/ssh_host_rsa_key"));
    }

    #[test]
    fn a_secret_file_is_itself_and_no_longer_name() {
        assert!(watch().is_secret(b"/etc/shadow"));
        assert!(!watch().is_secret(b"/etc/shadow-"));
        assert!(watch().is_secret(b"/var/lib/kubelet/pods/x/token"));
        assert!(!watch().is_secret(b"/var/lib/kubelet/pods/x/tokens"));
    }

    #[test]
    fn roundabout_paths_are_straightened() {
        assert_eq!(normalized(b"/a/./b//../c"), b"/a/c");
        assert_eq!(normalized(b"/../.."), b"/");
        assert_eq!(normalized(b"/a/\xff"), b"/a/\xff");
    }

    #[test]
    fn a_key_inside_another_says_what_both_say() {
        let secrets = [Secret::Tree("/no/such/etc/keys".into())];
        let entries = Watch::new(&["/no/such/etc".into()], &secrets).path_entries();
        let flags: Vec<u32> = entries.iter().map(|(_, flags)| *flags).collect();
        assert_eq!(flags, [WATCHED, WATCHED, WATCHED | SECRET]);
        assert!(entries.iter().all(|(key, _)| key.len() == KEY_SIZE));
    }

    #[test]
    fn the_root_folder_is_every_path() {
        let all = Watch::new(&["/".into()], &[]);
        assert!(all.is_watched(b"/x"));
        assert!(
            all.path_entries()
                .iter()
                .any(|(key, _)| key.starts_with(&[8, 0, 0, 0, b'/']))
        );
    }
}
