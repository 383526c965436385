//! An operator's request for a place in the trust root and a TLS certificate.
//!
//! Only public halves are in it. The proof shows that whoever wrote it holds the signing key and
//! meant this name and this TLS key.

use picket_proto::v1;
use picket_seal::{Domain, PublicKey, SealError, Signature, SigningKey};
use prost::Message;

use crate::identity::is_operator_name;
use crate::pem::{self, PemError};

/// An operator's request, its proof checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OperatorRequest {
    /// The operator's name; [`is_operator_name`] holds.
    pub name: String,
    /// Certificate request for the TLS key, DER.
    pub csr_der: Vec<u8>,
    /// The key that signs commands.
    pub signing_key: PublicKey,
    /// Over name and certificate request.
    pub proof: Signature,
}

/// Why a file is not an operator's request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// Not a PEM block of the right label.
    #[error("it holds no block `{LABEL}`")]
    NoBlock,
    /// The block's content is damaged.
    #[error("the block `{LABEL}` is damaged")]
    Damaged,
    /// A name that cannot be used.
    #[error("`{0}` cannot be an operator's name: use 1 to 64 of a-z 0-9 . _ -")]
    Name(String),
    /// A key or the proof is wrong.
    #[error("its proof does not fit")]
    Proof(#[source] SealError),
}

const LABEL: &str = "PICKET OPERATOR REQUEST";

impl OperatorRequest {
    /// Makes a request and proves it.
    pub fn prove(name: &str, csr_der: Vec<u8>, key: &SigningKey) -> Result<Self, RequestError> {
        if !is_operator_name(name) {
            return Err(RequestError::Name(name.to_owned()));
        }
        let proof = key.sign(Domain::OperatorRequest, &proven_bytes(name, &csr_der));
        Ok(Self {
            name: name.to_owned(),
            csr_der,
            signing_key: key.public_key(),
            proof,
        })
    }

    /// As a PEM block.
    pub fn to_pem(&self) -> String {
        let message = v1::OperatorRequest {
            name: self.name.clone(),
            csr: self.csr_der.clone(),
            signing_public_key: self.signing_key.as_bytes().to_vec(),
            proof: self.proof.0.to_vec(),
        };
        pem::write(LABEL, &message.encode_to_vec())
    }

    /// From a PEM block, checked.
    pub fn from_pem(text: &str) -> Result<Self, RequestError> {
        let body = pem::read(LABEL, text).map_err(|error| match error {
            PemError::Missing => RequestError::NoBlock,
            PemError::Damaged => RequestError::Damaged,
        })?;
        let wire = v1::OperatorRequest::decode(body.as_slice());
        let wire = wire.map_err(|_message| RequestError::Damaged)?;
        if !is_operator_name(&wire.name) {
            return Err(RequestError::Name(wire.name));
        }
        let signing_key =
            PublicKey::from_slice(&wire.signing_public_key).map_err(RequestError::Proof)?;
        let proof = Signature::from_slice(&wire.proof).map_err(RequestError::Proof)?;
        signing_key
            .verify(
                Domain::OperatorRequest,
                &proven_bytes(&wire.name, &wire.csr),
                &proof,
            )
            .map_err(RequestError::Proof)?;
        Ok(Self {
            name: wire.name,
            csr_der: wire.csr,
            signing_key,
            proof,
        })
    }
}

fn proven_bytes(name: &str, csr_der: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b"\0", csr_der].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let key = SigningKey::generate().unwrap();
        let request = OperatorRequest::prove("alice", vec![1; 300], &key).unwrap();
        assert_eq!(OperatorRequest::from_pem(&request.to_pem()), Ok(request));
    }

    #[test]
    fn another_name_or_key_breaks_the_proof() {
        let key = SigningKey::generate().unwrap();
        let mut request = OperatorRequest::prove("alice", vec![1; 300], &key).unwrap();
        request.name = "mallory".to_owned();
        let read = OperatorRequest::from_pem(&request.to_pem());
        assert!(matches!(read, Err(RequestError::Proof(_))));
        assert_eq!(
            OperatorRequest::from_pem("hello"),
            Err(RequestError::NoBlock)
        );
    }
}
