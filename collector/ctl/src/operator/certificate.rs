//! The operator's TLS certificate: read, checked before it is shown to anybody.

use picket_event::UnixNanos;
use picket_event::identity::Identity;
use picket_rpc::tls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use crate::failure::{Exit, Failure};
use crate::folder::{CERTIFICATE, Folder, TLS_KEY};
use crate::when::spoken;

/// What the collector's owner signed.
#[derive(Debug)]
pub(super) struct Certificate {
    path: String,
    operator: Option<String>,
    not_before: UnixNanos,
    not_after: UnixNanos,
}

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
enum CertificateError {
    #[error("`{path}` holds no {what} in PEM")]
    Pem { path: String, what: &'static str },
    #[error("the certificate `{0}` is damaged")]
    Damaged(String),
    #[error("the certificate `{path}` is for {got}, not for operator {expected}")]
    OtherName {
        path: String,
        expected: String,
        got: String,
    },
    #[error("the certificate `{path}` expired at {at}")]
    Expired { path: String, at: UnixNanos },
    #[error("the certificate `{path}` is valid only from {at}")]
    TooEarly { path: String, at: UnixNanos },
}

/// The certificate of the directory, not yet checked against anything.
pub(super) fn load(folder: &Folder) -> Result<Certificate, Failure> {
    let path = folder.file(CERTIFICATE).display().to_string();
    let chain = chain(folder)?;
    let damaged = || Failure::new(Exit::Unverified, CertificateError::Damaged(path.clone()));
    let own = chain.first().ok_or_else(damaged)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(own).map_err(|_der| damaged())?;
    let validity = parsed.validity();
    Ok(Certificate {
        operator: operator_of(&parsed),
        not_before: from_seconds(validity.not_before.timestamp()),
        not_after: from_seconds(validity.not_after.timestamp()),
        path,
    })
}

/// Certificate chain and key, as TLS shows them.
pub(super) fn identity(folder: &Folder) -> Result<tls::Identity, Failure> {
    let pem = folder.read_secret(TLS_KEY)?;
    let path = folder.file(TLS_KEY).display().to_string();
    let no_key = CertificateError::Pem {
        path,
        what: "private key",
    };
    let key =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_pem| Failure::new(Exit::Failed, no_key))?;
    let chain = chain(folder)?;
    Ok(tls::Identity { chain, key })
}

impl Certificate {
    /// Whether it names this operator and is valid now.
    pub(super) fn check(&self, operator: &str, now: UnixNanos) -> Result<(), Failure> {
        if self.operator.as_deref() != Some(operator) {
            let got = self.operator.clone();
            let other = CertificateError::OtherName {
                path: self.path.clone(),
                expected: operator.to_owned(),
                got: got.unwrap_or_else(|| "no operator".to_owned()),
            };
            return Err(Failure::new(Exit::Unverified, other));
        }
        self.check_time(now)
    }

    /// Whether it is valid now.
    pub(super) fn check_time(&self, now: UnixNanos) -> Result<(), Failure> {
        let path = self.path.clone();
        if now > self.not_after {
            let at = self.not_after;
            return Err(
                Failure::new(Exit::Unverified, CertificateError::Expired { path, at })
                    .hint("the collector's owner renews it: picket-collector operator add REQUEST --data DIR"),
            );
        }
        if now < self.not_before {
            let at = self.not_before;
            return Err(
                Failure::new(Exit::Unverified, CertificateError::TooEarly { path, at })
                    .hint("is the clock of this machine right?"),
            );
        }
        Ok(())
    }

    /// For people: how long it is still good.
    pub(super) fn validity(&self, now: UnixNanos) -> String {
        format!(
            "the certificate is good for {}",
            spoken(self.not_after.since(now))
        )
    }
}

fn chain(folder: &Folder) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let pem = folder.read(CERTIFICATE)?;
    let none = CertificateError::Pem {
        path: folder.file(CERTIFICATE).display().to_string(),
        what: "certificate",
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(Failure::new(Exit::Failed, none)),
    }
}

fn operator_of(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    let identities = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Identity::parse_uri(uri),
            _ => None,
        });
    let mut operators = identities.filter_map(|identity| match identity {
        Identity::Operator(name) => Some(name),
        Identity::Host(_) => None,
    });
    operators.next()
}

fn from_seconds(seconds: i64) -> UnixNanos {
    UnixNanos(seconds.saturating_mul(1_000_000_000))
}
