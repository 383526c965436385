//! Our certificate authority: who is who on the wire.
//!
//! # Invariants
//!
//! - What a certificate says is the collector's decision. Of a request only the public key is used.
//! - A request is signed by the key it names.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use picket_event::identity::Identity;
use picket_event::{HostId, UnixNanos};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, string::Ia5String,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use crate::data::{self, DataDir, DataError};

/// Signs certificates.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate chain and key, PEM.
pub struct ServerIdentity {
    /// The chain, own certificate first.
    pub chain: String,
    /// The key.
    pub key: String,
}

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The authority's own files cannot be read.
    #[error("failed to load the certificate authority")]
    Load(#[source] rcgen::Error),
    /// A certificate file is damaged.
    #[error("`{0}` is not a certificate")]
    Pem(String),
    /// A file operation failed.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Keys or certificates could not be made.
    #[error("failed to make a certificate")]
    Make(#[source] rcgen::Error),
    /// The request is not one, or is not signed by the key it names.
    #[error("the certificate request is not valid")]
    Request(#[source] rcgen::Error),
    /// The request's key is of a kind that we do not take.
    #[error("the certificate request's key is neither ECDSA P-256 nor Ed25519")]
    KeyKind,
    /// Not a DNS name or address.
    #[error("`{0}` is neither a DNS name nor an address")]
    Name(String),
}

/// A certificate request whose signature fits its key.
#[derive(Debug)]
pub struct Request(CertificateSigningRequestParams);

impl Request {
    /// From DER.
    pub fn read(der: &[u8]) -> Result<Self, AuthorityError> {
        let der = CertificateSigningRequestDer::from(der.to_vec());
        let read = CertificateSigningRequestParams::from_der(&der);
        let request = read.map_err(AuthorityError::Request)?;
        let kinds = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519];
        if !kinds.contains(&request.public_key.algorithm()) {
            return Err(AuthorityError::KeyKind);
        }
        Ok(Self(request))
    }

    /// Whether `signature` over `message` is by the request's key.
    pub fn key_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
        let key = &self.0.public_key;
        let verified = if *key.algorithm() == rcgen::PKCS_ED25519 {
            UnparsedPublicKey::new(&ED25519, key.der_bytes()).verify(message, signature)
        } else {
            let p256 = &ECDSA_P256_SHA256_ASN1;
            UnparsedPublicKey::new(p256, key.der_bytes()).verify(message, signature)
        };
        verified.is_ok()
    }
}

impl Authority {
    /// Makes a new authority and writes its files.
    pub fn create(data: &DataDir, now: UnixNanos) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Make)?;
        let mut params = lasting(now, CA_LIFETIME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = named("Picket collector CA");
        let certificate = params.self_signed(&key).map_err(AuthorityError::Make)?;
        data::write_new(&data.ca_key(), key.serialize_pem().as_bytes(), 0o600)?;
        data::write_new(&data.ca_certificate(), certificate.pem().as_bytes(), 0o644)?;
        let issuer = Issuer::new(params, key);
        Ok(Self {
            certificate: certificate.der().clone(),
            issuer,
        })
    }

    /// Reads the files of an authority made before.
    pub fn open(data: &DataDir) -> Result<Self, AuthorityError> {
        let certificate = certificates(&data::read(&data.ca_certificate())?, "ca.pem")?;
        let certificate = certificate.into_iter().next();
        let certificate = certificate.ok_or_else(|| AuthorityError::Pem("ca.pem".to_owned()))?;
        let key = String::from_utf8_lossy(&data::read(&data.ca_key())?).into_owned();
        let key = KeyPair::from_pem(&key).map_err(AuthorityError::Load)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(AuthorityError::Load)?;
        Ok(Self {
            certificate,
            issuer,
        })
    }

    /// Our own certificate, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A new key and certificate for the server under these DNS names and addresses.
    pub fn server(
        &self,
        names: &[String],
        now: UnixNanos,
    ) -> Result<ServerIdentity, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Make)?;
        let mut params = lasting(now, SERVER_LIFETIME);
        params.subject_alt_names = names
            .iter()
            .map(|name| server_name(name))
            .collect::<Result<_, _>>()?;
        params.distinguished_name = named("Picket collector");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let chain = self.sign(params, &key)?;
        Ok(ServerIdentity {
            chain: pem(&chain),
            key: key.serialize_pem(),
        })
    }

    /// A host's certificate; the chain, own certificate first.
    pub fn host(
        &self,
        host: HostId,
        request: &Request,
        now: UnixNanos,
        lifetime: Duration,
    ) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        self.client(&Identity::Host(host), request, lasting(now, lifetime))
    }

    /// An operator's certificate; the chain, own certificate first.
    pub fn operator(
        &self,
        name: &str,
        request: &Request,
        now: UnixNanos,
    ) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        let identity = Identity::Operator(name.to_owned());
        self.client(&identity, request, lasting(now, OPERATOR_LIFETIME))
    }

    fn client(
        &self,
        identity: &Identity,
        request: &Request,
        mut params: CertificateParams,
    ) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        let uri = Ia5String::try_from(identity.uri()).map_err(AuthorityError::Make)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.distinguished_name = DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &request.0.public_key)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let signed = params
            .signed_by(key, &self.issuer)
            .map_err(AuthorityError::Make)?;
        Ok(vec![signed.der().clone(), self.certificate.clone()])
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").finish_non_exhaustive()
    }
}

/// The certificates of a PEM text.
pub fn certificates(
    text: &[u8],
    what: &str,
) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    let all = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    all.map_err(|_malformed| AuthorityError::Pem(what.to_owned()))
}

/// A chain as PEM.
pub fn pem(chain: &[CertificateDer<'_>]) -> String {
    let blocks = chain.iter().map(|certificate| block(certificate));
    blocks.collect()
}

fn block(der: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = body.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: Vec<_> = lines.collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

fn server_name(name: &str) -> Result<SanType, AuthorityError> {
    let wrong = || AuthorityError::Name(name.to_owned());
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let known = rustls::pki_types::DnsName::try_from(name).map_err(|_invalid| wrong())?;
    let name = Ia5String::try_from(known.as_ref()).map_err(|_invalid| wrong())?;
    Ok(SanType::DnsName(name))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Good from a little before now, for clocks that are late, until `lifetime` from now.
fn lasting(now: UnixNanos, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |time: UnixNanos| time.since(UnixNanos(0));
    params.not_before = epoch + since_epoch(now.minus(CLOCK_SLACK));
    params.not_after = epoch + since_epoch(now.plus(lifetime));
    params
}

const CLOCK_SLACK: Duration = Duration::from_hours(1);
const CA_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);
/// The server's certificate is made anew once half of this is over.
pub const SERVER_LIFETIME: Duration = Duration::from_hours(90 * 24);
const OPERATOR_LIFETIME: Duration = Duration::from_hours(365 * 24);
