//! Who this host is and whom it believes: what enrolment wrote.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use picket_event::HostId;
use picket_event::trust::TrustRoot;
use picket_rpc::tls::Identity;
use picket_seal::PublicKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use super::{StateDir, StateError};

/// What enrolment agreed on.
#[derive(Debug)]
pub(crate) struct Host {
    /// This host's name.
    pub(crate) id: HostId,
    /// The event key of epoch 0, which the name is made of.
    pub(crate) first_key: PublicKey,
    /// The collector, `HOST:PORT`.
    pub(crate) collector: String,
    /// The state's generation.
    pub(crate) epoch: u64,
    /// The CA certificate, DER.
    pub(crate) ca: Vec<u8>,
    /// Whom commands are believed from.
    pub(crate) trust: TrustRoot,
}

/// The TLS key and its certificates.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// The private key, PKCS#8.
    pub(crate) key: Vec<u8>,
    /// The chain, DER, host first.
    pub(crate) chain: Vec<Vec<u8>>,
}

/// `host.json`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct HostFile {
    format: u32,
    host_id: String,
    first_event_key: String,
    collector: String,
    host_epoch: u64,
}

const FORMAT: u32 = 1;
const HOST: &str = "host.json";
const CA: &str = "ca.der";
const TRUST: &str = "trust-root";
const TLS_KEY: &str = "tls.p8";
const CHAIN: &str = "chain.pem";

/// Where root on this host puts another trust root.
pub(crate) const REPLACEMENT: &str = "replacement.trust";

/// Every file that [`write()`] makes, the deciding one last.
pub(crate) const FILES: [&str; 5] = [CA, TRUST, TLS_KEY, CHAIN, HOST];

/// Whether somebody enrolled this host there.
pub(crate) fn is_enrolled(root: &Path) -> bool {
    root.join(HOST).exists()
}

/// Refuses a directory that is not ours or in which nobody enrolled this host.
pub(crate) fn require(root: &Path) -> Result<(), StateError> {
    super::check_owner(root)?;
    if is_enrolled(root) {
        return Ok(());
    }
    Err(StateError::NotEnrolled {
        path: root.to_owned(),
    })
}

/// Writes what enrolment agreed on. `host.json` comes last: without it nothing is enrolled.
pub(crate) fn write(
    state: &StateDir,
    host: &Host,
    trust: &[u8],
    certificate: &Certificate,
) -> Result<(), StateError> {
    state.write(CA, &host.ca)?;
    state.write(TRUST, trust)?;
    certificate.write(state)?;
    let file = HostFile {
        format: FORMAT,
        host_id: host.id.to_string(),
        first_event_key: hex::encode(host.first_key.as_bytes()),
        collector: host.collector.clone(),
        host_epoch: host.epoch,
    };
    let text = serde_json::to_vec_pretty(&file).expect("strings and numbers are always JSON");
    state.write(HOST, &text)
}

/// Another trust root takes the place of the one that is there.
pub(crate) fn write_trust(state: &StateDir, body: &[u8]) -> Result<(), StateError> {
    state.write(TRUST, body)
}

impl Host {
    /// Reads it back.
    pub(crate) fn read(state: &StateDir) -> Result<Self, StateError> {
        let not_enrolled = || StateError::NotEnrolled {
            path: state.root().to_owned(),
        };
        let text = state.read(HOST)?.ok_or_else(not_enrolled)?;
        let damaged = |reason: String| damaged(state.path(HOST), reason);
        let file: HostFile =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if file.format != FORMAT {
            return Err(damaged(format!("format {} is not known here", file.format)));
        }
        let id = HostId::parse(&file.host_id).map_err(|error| damaged(error.to_string()))?;
        let first_key = public_key(&file.first_event_key).map_err(damaged)?;
        if HostId::of_first_key(&first_key) != id {
            return Err(damaged(
                "host id and first event key do not belong together".to_owned(),
            ));
        }
        let trust = required(state, TRUST)?;
        Ok(Self {
            id,
            first_key,
            collector: file.collector,
            epoch: file.host_epoch,
            ca: required(state, CA)?,
            trust: TrustRoot::decode(&trust)
                .map_err(|error| self::damaged(state.path(TRUST), crate::failure::chain(&error)))?,
        })
    }
}

impl Certificate {
    /// Reads it back.
    pub(crate) fn read(state: &StateDir) -> Result<Self, StateError> {
        let pem = required(state, CHAIN)?;
        let chain = CertificateDer::pem_slice_iter(&pem)
            .map(|certificate| certificate.map(|der| der.as_ref().to_vec()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| damaged(state.path(CHAIN), error.to_string()))?;
        if chain.is_empty() {
            return Err(damaged(
                state.path(CHAIN),
                "it holds no certificate".to_owned(),
            ));
        }
        Ok(Self {
            key: required(state, TLS_KEY)?,
            chain,
        })
    }

    /// Key first: a chain without its key is worth nothing.
    pub(crate) fn write(&self, state: &StateDir) -> Result<(), StateError> {
        state.write(TLS_KEY, &self.key)?;
        self.write_chain(state)
    }

    /// Only the chain, for a renewal under the same key.
    pub(crate) fn write_chain(&self, state: &StateDir) -> Result<(), StateError> {
        let pem: String = self.chain.iter().map(|der| to_pem(der)).collect();
        state.write(CHAIN, pem.as_bytes())
    }

    /// As rustls wants it.
    pub(crate) fn identity(&self) -> Identity {
        let key = PrivatePkcs8KeyDer::from(self.key.clone());
        Identity {
            chain: self
                .chain
                .iter()
                .map(|der| CertificateDer::from(der.clone()))
                .collect(),
            key: PrivateKeyDer::Pkcs8(key),
        }
    }
}

fn public_key(hex_digits: &str) -> Result<PublicKey, String> {
    let bytes = hex::decode(hex_digits).map_err(|error| error.to_string())?;
    PublicKey::from_slice(&bytes).map_err(|error| error.to_string())
}

fn required(state: &StateDir, name: &str) -> Result<Vec<u8>, StateError> {
    let missing = || damaged(state.path(name), "it is missing".to_owned());
    state.read(name)?.ok_or_else(missing)
}

fn damaged(path: PathBuf, reason: String) -> StateError {
    StateError::Damaged { path, reason }
}

fn to_pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use picket_event::UnixNanos;
    use picket_event::trust::{Person, Role};
    use picket_seal::SigningKey;

    use super::*;

    pub(crate) fn sample(first: &SigningKey, operator: &SigningKey) -> Host {
        let person = Person {
            name: "alice".to_owned(),
            keys: vec![operator.public_key()],
            roles: vec![Role::Requester],
        };
        Host {
            id: HostId::of_first_key(&first.public_key()),
            first_key: first.public_key(),
            collector: "127.0.0.1:7443".to_owned(),
            epoch: 1,
            ca: b"ca".to_vec(),
            trust: TrustRoot::first(vec![person], UnixNanos(0)),
        }
    }

    #[test]
    fn enrolment_is_read_back_and_its_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let first = SigningKey::generate().unwrap();
        let host = sample(&first, &SigningKey::generate().unwrap());
        let certificate = Certificate {
            key: vec![1],
            chain: vec![vec![2; 100], vec![3]],
        };
        assert!(!is_enrolled(dir.path()));
        write(&state, &host, &host.trust.encode(), &certificate).unwrap();
        assert_eq!(Host::read(&state).unwrap().id, host.id);
        assert_eq!(Certificate::read(&state).unwrap().chain, certificate.chain);
        for (name, reason) in [(CHAIN, "holds no certificate"), (TRUST, "names nobody")] {
            let kept = fs::read(state.path(name)).unwrap();
            fs::write(state.path(name), b"").unwrap();
            let host = Host::read(&state).map(drop);
            let error = host
                .and_then(|()| Certificate::read(&state).map(drop))
                .unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
            fs::write(state.path(name), kept).unwrap();
        }
    }
}
