//! An operator's keys and certificate: making them, taking the certificate in, using them.
//!
//! # Invariants
//!
//! - Private keys are made here and leave neither this directory nor this process.
//! - A collector is pinned only after its CA and trust root gave the fingerprint that was typed by hand.
//! - Nothing but the pinned CA is believed afterwards.

mod certificate;

use std::path::Path;

use picket_event::request::OperatorRequest;
use picket_event::trust::{Role, TrustRoot};
use picket_event::{Clock, SystemClock};
use picket_proto::v1;
use picket_rpc::tls;
use picket_seal::{Digest, PublicKey, SigningKey, enrolment_fingerprint, format_fingerprint};
use prost::Message;
use rcgen::{CertificateParams, DnType, KeyPair};

use crate::cli::{FinishArgs, InitArgs};
use crate::client::{self, Collector};
use crate::failure::{Exit, Failure};
use crate::folder::{
    CA, CERTIFICATE, CHECKPOINTS, COLLECTOR, Folder, NEWEST_TRUST, REQUEST, SIGNING_KEY, TLS_KEY,
    TRUST_ROOT,
};
use crate::keyfile;
use crate::output::{Output, note};
use crate::passphrase;

/// What an operator's directory holds once it is ready.
#[derive(Debug)]
pub(crate) struct Operator {
    folder: Folder,
    /// `HOST:PORT`.
    pub(crate) collector: String,
    ca: Vec<u8>,
    trust_root: Vec<u8>,
}

/// Why an operator is not ready.
#[derive(Debug, thiserror::Error)]
enum OperatorError {
    #[error("no operator was named")]
    NotNamed,
    #[error("failed to make a TLS key")]
    TlsKey(#[source] rcgen::Error),
    #[error("the request `{0}` is damaged")]
    Request(String, #[source] picket_event::request::RequestError),
    #[error("the pinned address in `{0}` is damaged")]
    Address(String),
    #[error("the fingerprint that was given is malformed")]
    Fingerprint(#[source] picket_seal::SealError),
    #[error(
        "{address} has the fingerprint {got}, not {expected}: this is not the collector that was meant"
    )]
    OtherCollector {
        address: String,
        expected: String,
        got: String,
    },
    #[error("`{0}` is pinned to another collector already")]
    PinnedElsewhere(String),
    #[error("the pinned trust root is damaged")]
    TrustRoot(#[source] picket_event::trust::TrustError),
    #[error("the newest trust root in `{0}` is damaged")]
    Newest(String),
    #[error("the collector's trust root does not follow the one that is pinned here")]
    OtherTrust(#[source] picket_event::trust::TrustError),
    #[error("the collector has trust root {has}, older than {pinned}, which was verified here")]
    RolledBack { has: u64, pinned: u64 },
    #[error("the TLS key and certificate cannot be used")]
    Tls(#[source] tls::TlsError),
}

/// `operator init`.
pub(crate) fn init(args: &InitArgs) -> Result<(), Failure> {
    let file = args.passphrase_file.as_deref();
    let passphrase = file.map(passphrase::from_file).transpose()?;
    let signing = SigningKey::generate().map_err(|source| Failure::new(Exit::Failed, source))?;
    let tls = KeyPair::generate().map_err(unmade)?;
    let csr = certificate_request(&args.name, &tls).map_err(unmade)?;
    let request = OperatorRequest::prove(&args.name, csr, &signing)
        .map_err(|source| Failure::new(Exit::Usage, source))?;
    let folder = Folder::create(&args.out)?;
    folder.write(SIGNING_KEY, &keyfile::store(&signing, passphrase.as_ref())?)?;
    folder.write(TLS_KEY, tls.serialize_pem().as_bytes())?;
    folder.write(REQUEST, request.to_pem().as_bytes())?;
    if passphrase.is_none() {
        note("the signing key is stored unencrypted: whoever reads the directory can sign as you");
        note("hint: --passphrase-file FILE encrypts it");
    }
    next_step(&folder)
}

/// `operator finish`.
pub(crate) async fn finish(args: &FinishArgs) -> Result<(), Failure> {
    let expected = picket_seal::parse_fingerprint(&args.fingerprint)
        .map_err(|source| Failure::new(Exit::Usage, OperatorError::Fingerprint(source)))
        .map_err(|failure| {
            failure.hint("as picket-collector init printed it: sha256: and 64 hexadecimal digits")
        })?;
    let folder = Folder::open(&args.dir)?;
    let request = read_request(&folder)?;
    let certificate = certificate::load(&folder)?;
    certificate.check(&request.name, SystemClock.now())?;
    let anchors = ask_for_anchors(&folder, &args.collector).await?;
    compare(expected, &anchors, &args.collector)?;
    let operator = Operator {
        folder,
        collector: args.collector.clone(),
        ca: anchors.ca_certificate,
        trust_root: anchors.trust_root,
    };
    operator.refuse_other_pins()?;
    let hosts = Collector::open(&operator).await?.list_hosts("").await?;
    operator.pin()?;
    warn_unless_named(&operator, &request)?;
    let mut out = Output::stdout();
    out.line(&format!(
        "{} is ready at {} with {} hosts; {}",
        request.name,
        operator.collector,
        hosts.len(),
        certificate.validity(SystemClock.now())
    ))?;
    out.flush()
}

impl Operator {
    /// The ready operator in `--operator DIR` or `PICKET_OPERATOR`.
    pub(crate) fn open(dir: Option<&Path>) -> Result<Self, Failure> {
        let dir = dir.ok_or_else(|| {
            Failure::new(Exit::Usage, OperatorError::NotNamed)
                .hint("give --operator DIR or set PICKET_OPERATOR")
        })?;
        let folder = Folder::open(dir)?;
        let certificate = certificate::load(&folder)?;
        certificate.check_time(SystemClock.now())?;
        let collector = String::from_utf8(folder.read(COLLECTOR)?).map_err(|_not_text| {
            let path = folder.file(COLLECTOR).display().to_string();
            Failure::new(Exit::Failed, OperatorError::Address(path))
        })?;
        Ok(Self {
            collector: collector.trim().to_owned(),
            ca: folder.read(CA)?,
            trust_root: folder.read(TRUST_ROOT)?,
            folder,
        })
    }

    /// What the tokens of this operator carry.
    pub(crate) fn fingerprint(&self) -> Digest {
        enrolment_fingerprint(&self.ca, &self.trust_root)
    }

    /// Version 1, exact bytes: what the fingerprint covers.
    pub(crate) fn first_trust_root(&self) -> &[u8] {
        &self.trust_root
    }

    /// Whom the hosts believe, as far as that was verified here.
    pub(crate) fn trust_root(&self) -> Result<TrustRoot, Failure> {
        let newest = if self.folder.has(NEWEST_TRUST) {
            let kept = v1::SignedTrustRoot::decode(self.folder.read(NEWEST_TRUST)?.as_slice());
            let path = || self.folder.file(NEWEST_TRUST).display().to_string();
            kept.map_err(|_message| Failure::new(Exit::Failed, OperatorError::Newest(path())))?
                .body
        } else {
            self.trust_root.clone()
        };
        TrustRoot::decode(&newest)
            .map_err(|source| Failure::new(Exit::Unverified, OperatorError::TrustRoot(source)))
    }

    /// Takes what the collector has behind the pinned trust root, each version verified by the one before it.
    pub(crate) async fn sync_trust(&self, collector: &mut Collector) -> Result<TrustRoot, Failure> {
        let mut root = self.trust_root()?;
        let later = collector.trust_roots(root.version).await?;
        if later.newest < root.version {
            let (has, pinned) = (later.newest, root.version);
            let error = OperatorError::RolledBack { has, pinned };
            return Err(Failure::new(Exit::Unverified, error).hint(
                "a collector that was restored from an older copy gets it by `picketctl trust publish FILE`; otherwise trust nothing until somebody has looked",
            ));
        }
        for signed in later.trust_roots {
            let taken = root.succeed(&signed, SystemClock.now());
            let (next, signers) = taken.map_err(|source| {
                Failure::new(Exit::Unverified, OperatorError::OtherTrust(source))
            })?;
            self.folder.write(NEWEST_TRUST, &signed.encode_to_vec())?;
            note(&format!(
                "trust root {} is in force, signed by {}",
                next.version,
                signers.join(", ")
            ));
            root = next;
        }
        if SystemClock.now() > root.expires {
            note(&format!(
                "trust root {} expired at {}: hosts only end effects until there is a new one",
                root.version, root.expires
            ));
        }
        Ok(root)
    }

    /// TLS that believes the pinned CA only and shows this operator's certificate.
    pub(crate) fn tls(&self) -> Result<rustls::ClientConfig, Failure> {
        let identity = certificate::identity(&self.folder)?;
        tls::client_config(&self.ca, Some(identity)).map_err(unusable)
    }

    /// The key that signs commands; asks for its passphrase if it needs one.
    pub(crate) fn signing_key(&self, passphrase: Option<&Path>) -> Result<SigningKey, Failure> {
        let file = self.folder.read_secret(SIGNING_KEY)?;
        let path = self.folder.file(SIGNING_KEY);
        let passphrase = keyfile::is_encrypted(&file)
            .then(|| passphrase::ask(passphrase, &path))
            .transpose()?;
        Ok(keyfile::load(&file, passphrase.as_ref())?)
    }

    /// What was pinned of the collector's checkpoints, if anything.
    pub(crate) fn pinned_checkpoints(&self) -> Result<Option<Vec<u8>>, Failure> {
        if !self.folder.has(CHECKPOINTS) {
            return Ok(None);
        }
        Ok(Some(self.folder.read(CHECKPOINTS)?))
    }

    /// Pins what was seen of them.
    pub(crate) fn pin_checkpoints(&self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.folder.write(CHECKPOINTS, bytes)?)
    }

    /// Where that is.
    pub(crate) fn checkpoints_path(&self) -> String {
        self.folder.file(CHECKPOINTS).display().to_string()
    }

    fn refuse_other_pins(&self) -> Result<(), Failure> {
        let differs = |name, pinned: &[u8]| -> Result<bool, Failure> {
            Ok(self.folder.has(name) && self.folder.read(name)? != pinned)
        };
        if differs(CA, &self.ca)? || differs(TRUST_ROOT, &self.trust_root)? {
            let dir = self.folder.path().display().to_string();
            return Err(
                Failure::new(Exit::Refused, OperatorError::PinnedElsewhere(dir))
                    .hint("use another directory for another collector"),
            );
        }
        Ok(())
    }

    fn pin(&self) -> Result<(), Failure> {
        self.folder.write(CA, &self.ca)?;
        self.folder.write(TRUST_ROOT, &self.trust_root)?;
        let address = format!("{}\n", self.collector);
        Ok(self.folder.write(COLLECTOR, address.as_bytes())?)
    }
}

/// Whether the trust root lets this key ask for actions.
pub(crate) fn is_requester(root: &TrustRoot, key: &PublicKey) -> bool {
    let may_ask = root
        .persons
        .iter()
        .filter(|person| person.roles.contains(&Role::Requester));
    may_ask
        .flat_map(|person| &person.keys)
        .any(|held| held == key)
}

fn certificate_request(name: &str, key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let request = params.serialize_request(key)?;
    Ok(request.der().to_vec())
}

fn next_step(folder: &Folder) -> Result<(), Failure> {
    let request = folder.file(REQUEST);
    let mut out = Output::stdout();
    out.line(&request.display().to_string())?;
    out.flush()?;
    note(&format!(
        "next: picket-collector init --data DIR --name HOST --operator {}, then picketctl operator finish",
        request.display()
    ));
    Ok(())
}

fn read_request(folder: &Folder) -> Result<OperatorRequest, Failure> {
    let pem = folder.read(REQUEST)?;
    let path = folder.file(REQUEST).display().to_string();
    OperatorRequest::from_pem(&String::from_utf8_lossy(&pem))
        .map_err(|source| Failure::new(Exit::Failed, OperatorError::Request(path, source)))
}

/// Through TLS that believes anybody, and for nothing but this question.
async fn ask_for_anchors(folder: &Folder, address: &str) -> Result<v1::AnchorsResponse, Failure> {
    let identity = certificate::identity(folder)?;
    let config = tls::unverified_client_config(Some(identity)).map_err(unusable)?;
    client::anchors(address, config).await
}

fn compare(expected: Digest, anchors: &v1::AnchorsResponse, address: &str) -> Result<(), Failure> {
    let got = enrolment_fingerprint(&anchors.ca_certificate, &anchors.trust_root);
    if got == expected {
        return Ok(());
    }
    let other = OperatorError::OtherCollector {
        address: address.to_owned(),
        expected: format_fingerprint(&expected),
        got: format_fingerprint(&got),
    };
    Err(Failure::new(Exit::Unverified, other)
        .hint("ask the collector's owner for the fingerprint over another way, and trust nothing until it fits"))
}

fn warn_unless_named(operator: &Operator, request: &OperatorRequest) -> Result<(), Failure> {
    if !is_requester(&operator.trust_root()?, &request.signing_key) {
        note(&format!(
            "the trust root does not name {}'s signing key {}: you can look, but hosts refuse your commands",
            request.name,
            request.signing_key.key_id()
        ));
        note("hint: the key counts once a new trust root names it");
    }
    Ok(())
}

fn unmade(source: rcgen::Error) -> Failure {
    Failure::new(Exit::Failed, OperatorError::TlsKey(source))
}

fn unusable(source: tls::TlsError) -> Failure {
    Failure::new(Exit::Unverified, OperatorError::Tls(source)).hint(format!(
        "{CERTIFICATE} must be the one made for {TLS_KEY} of the same directory"
    ))
}

#[cfg(test)]
mod tests;
