//! Who is on the other end of a connection, decided once, when its TLS handshake ends.
//!
//! # Invariants
//!
//! - A [`HostIdentity`] or [`OperatorIdentity`] comes from a certificate that our authority signed,
//!   on the port that is for it, and from nowhere else. Code without one does not compile.
//! - Once a connection is closing, no call on it gets an identity any more.

use std::net::SocketAddr;

use picket_event::HostId;
use picket_event::identity::Identity;
use tokio::sync::watch;
use tonic::Request;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::refusal::Refusal;

/// Which port a connection came in on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Port {
    /// Agents, and hosts that enrol.
    Agents,
    /// Operators.
    Operators,
}

/// A host, proven by its certificate.
#[derive(Clone, Debug)]
pub struct HostIdentity {
    id: HostId,
    closing: Closing,
}

/// An operator, proven by their certificate.
#[derive(Clone, Debug)]
pub struct OperatorIdentity {
    name: String,
    closing: Closing,
}

/// The reason for which a connection is being closed, once there is one.
pub type Closing = watch::Receiver<Option<Refusal>>;

/// What every call knows of its connection.
#[derive(Clone, Debug)]
pub struct Peer {
    address: SocketAddr,
    caller: Caller,
    closing: Closing,
}

/// Whom the certificate names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Caller {
    Nobody,
    Host(HostId),
    Operator(String),
    Refused(Refusal),
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, caller: Caller, closing: Closing) -> Self {
        Self {
            address,
            caller,
            closing,
        }
    }

    /// Where it comes from.
    pub fn of<T>(request: &Request<T>) -> Result<&Self, Refusal> {
        request.extensions().get().ok_or(Refusal::Internal)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn open_caller(&self) -> Result<&Caller, Refusal> {
        match *self.closing.borrow() {
            Some(reason) => Err(reason),
            None => Ok(&self.caller),
        }
    }
}

impl HostIdentity {
    /// The host that makes this call.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Refusal> {
        let peer = Peer::of(request)?;
        match peer.open_caller()? {
            Caller::Host(id) => Ok(Self {
                id: *id,
                closing: peer.closing.clone(),
            }),
            Caller::Nobody => Err(Refusal::NoCertificate),
            Caller::Operator(_) => Err(Refusal::WrongRole),
            Caller::Refused(reason) => Err(*reason),
        }
    }

    /// Its id.
    pub fn id(&self) -> HostId {
        self.id
    }

    /// Tells when its connection is to be closed, and why.
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }
}

impl OperatorIdentity {
    /// The operator who makes this call.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Refusal> {
        let peer = Peer::of(request)?;
        match peer.open_caller()? {
            Caller::Operator(name) => Ok(Self {
                name: name.clone(),
                closing: peer.closing.clone(),
            }),
            Caller::Nobody => Err(Refusal::NoCertificate),
            Caller::Host(_) => Err(Refusal::WrongRole),
            Caller::Refused(reason) => Err(*reason),
        }
    }

    /// Their name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells when their connection is to be closed, and why.
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }
}

/// Returns the reason once there is one.
pub async fn closed(closing: &mut Closing) -> Refusal {
    match closing.wait_for(Option::is_some).await {
        Ok(reason) => reason.unwrap_or(Refusal::ShuttingDown),
        // Whoever could give a reason is gone, and so is the connection.
        Err(_dropped) => Refusal::ShuttingDown,
    }
}

/// Whom a verified certificate names, and when it ends, in seconds since 1970.
pub(crate) fn read_certificate(der: &[u8], port: Port) -> (Caller, Option<i64>) {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return (Caller::Refused(Refusal::NoIdentity), None);
    };
    let caller = match (identity(&certificate), port) {
        (Some(Identity::Host(id)), Port::Agents) => Caller::Host(id),
        (Some(Identity::Operator(name)), Port::Operators) => Caller::Operator(name),
        (Some(_), _) => Caller::Refused(Refusal::WrongRole),
        (None, _) => Caller::Refused(Refusal::NoIdentity),
    };
    (caller, Some(certificate.validity().not_after.timestamp()))
}

/// The one URI among the certificate's names; with none, or with two, it names nobody.
fn identity(certificate: &X509Certificate<'_>) -> Option<Identity> {
    let names = certificate.subject_alternative_name().ok()??;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => Identity::parse_uri(uri),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    /// A certificate that names this identity.
    fn certificate(identity: &Identity) -> Vec<u8> {
        let mut params = CertificateParams::default();
        let uri = identity.uri().as_str().try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(uri)];
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    thread_local! {
        static HOST: Vec<u8> = certificate(&Identity::Host(HostId::new([7; 32])));
    }

    proptest! {
        #[test]
        fn mutated_certificates_name_a_host_whose_name_stands_in_them_or_nobody(
            wounds in vec((0_u8..4, any::<Index>(), any::<u8>()), 1..4),
        ) {
            let mut der = HOST.with(Clone::clone);
            for (kind, at, byte) in wounds {
                let at = at.index(der.len().max(1)).min(der.len());
                match kind {
                    0 if at < der.len() => der[at] ^= 1 << (byte % 8),
                    1 if at < der.len() => der[at] = byte,
                    2 => der.truncate(at),
                    _ => der.insert(at, byte),
                }
            }
            match read_certificate(&der, Port::Agents).0 {
                Caller::Host(id) => {
                    let uri = Identity::Host(id).uri();
                    let named = der.windows(uri.len()).any(|part| part == uri.as_bytes());
                    prop_assert!(named, "{}", uri);
                }
                Caller::Refused(reason) => {
                    prop_assert!(matches!(reason, Refusal::NoIdentity | Refusal::WrongRole));
                }
                other => prop_assert!(false, "{:?}", other),
            }
            let operator = matches!(read_certificate(&der, Port::Operators).0, Caller::Operator(_));
            prop_assert!(!operator, "a host's certificate names no operator");
        }

        #[test]
        fn no_bytes_of_a_certificate_name_anybody(der: Vec<u8>) {
            prop_assert_eq!(read_certificate(&der, Port::Agents).0, Caller::Refused(Refusal::NoIdentity));
        }
    }
}
