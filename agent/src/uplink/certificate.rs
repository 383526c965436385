//! The host's certificate: how long it is good, and the request for the next.

use std::time::Duration;

use picket_event::UnixNanos;
use picket_proto::v1;
use picket_rpc::v1::agent_client::AgentClient;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tonic::transport::Channel;
use x509_parser::prelude::FromDer;

use super::{LinkError, Uplink};
use crate::state::StateError;
use crate::state::host::Certificate;

/// When a certificate begins and ends, in seconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Validity {
    /// From here.
    pub(super) from: i64,
    /// To here.
    pub(super) to: i64,
}

impl Validity {
    /// Of the first certificate of a chain.
    pub(super) fn of(certificate: &Certificate) -> Option<Self> {
        let der = certificate.chain.first()?;
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
        let validity = parsed.validity();
        Some(Self {
            from: validity.not_before.timestamp(),
            to: validity.not_after.timestamp(),
        })
    }

    /// Whether it has run out.
    pub(super) fn is_over(self, now: UnixNanos) -> bool {
        seconds(now) >= self.to
    }

    /// How long until half of its life is over.
    pub(super) fn until_half(self, now: UnixNanos) -> Duration {
        let half = self.from.midpoint(self.to);
        Duration::from_secs(u64::try_from(half.saturating_sub(seconds(now))).unwrap_or(0))
    }
}

fn seconds(now: UnixNanos) -> i64 {
    now.0.div_euclid(1_000_000_000)
}

/// A new TLS key.
pub(crate) fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
}

/// A request for a certificate. It names nobody: the collector decides for whom it is.
pub(crate) fn request(key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let request = CertificateParams::default().serialize_request(key)?;
    Ok(request.der().as_ref().to_vec())
}

/// Signs with the TLS key, as proof that the requester holds it.
pub(crate) fn prove(key: &KeyPair, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
    key.sign(message)
}

/// Asks for the next certificate under the same key, and keeps it.
pub(super) async fn renew(
    uplink: &Uplink,
    client: &mut AgentClient<Channel>,
    mut certificate: Certificate,
) -> Result<(), LinkError> {
    let csr = own_request(uplink, &certificate)?;
    let answer = client.renew_certificate(v1::RenewRequest { csr }).await?;
    certificate.chain = answer.into_inner().certificates;
    keep(uplink, &certificate)
}

/// Keeps a new certificate, if it is one.
pub(super) fn keep(uplink: &Uplink, certificate: &Certificate) -> Result<(), LinkError> {
    if Validity::of(certificate).is_none() {
        return Err(LinkError::Protocol("the collector sent no certificate"));
    }
    certificate.write_chain(&uplink.state)?;
    Ok(())
}

fn own_request(uplink: &Uplink, certificate: &Certificate) -> Result<Vec<u8>, StateError> {
    let key = own_key(uplink, certificate)?;
    request(&key).map_err(|error| damaged(uplink, &error))
}

/// The TLS key of this host.
pub(super) fn own_key(uplink: &Uplink, certificate: &Certificate) -> Result<KeyPair, StateError> {
    let der = PrivatePkcs8KeyDer::from(certificate.key.as_slice());
    KeyPair::try_from(&der).map_err(|error| damaged(uplink, &error))
}

fn damaged(uplink: &Uplink, error: &rcgen::Error) -> StateError {
    StateError::Damaged {
        path: uplink.state.path("tls.p8"),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_half_of_its_life() {
        let validity = Validity {
            from: 1_000,
            to: 2_000,
        };
        let at = |seconds: i64| UnixNanos(seconds * 1_000_000_000);
        assert_eq!(validity.until_half(at(1_000)), Duration::from_secs(500));
        assert_eq!(validity.until_half(at(1_900)), Duration::ZERO);
        assert!(!validity.is_over(at(1_999)) && validity.is_over(at(2_000)));
    }

    #[test]
    fn the_validity_of_a_real_certificate_is_read() {
        let key = new_key().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let chain = vec![certificate.der().as_ref().to_vec()];
        let validity = Validity::of(&Certificate {
            key: Vec::new(),
            chain,
        })
        .unwrap();
        assert!(validity.from < validity.to);
        assert!(request(&key).unwrap().len() > 100);
    }
}
