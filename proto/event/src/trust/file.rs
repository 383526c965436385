//! A trust root as a file that goes from person to person until enough have signed it.

use picket_proto::v1;
use prost::Message;

use super::{TrustError, TrustRoot};
use crate::pem::{self, PemError};

const LABEL: &str = "PICKET TRUST ROOT";

/// Why a file holds no trust root.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrustFileError {
    /// Not a PEM block of the right label.
    #[error("it holds no block `{LABEL}`")]
    NoBlock,
    /// The block's content is damaged.
    #[error("the block `{LABEL}` is damaged")]
    Damaged,
    /// It holds something else.
    #[error("the block `{LABEL}` holds no trust root")]
    Root(#[source] TrustError),
}

/// As a PEM block.
pub fn to_pem(signed: &v1::SignedTrustRoot) -> String {
    pem::write(LABEL, &signed.encode_to_vec())
}

/// From a PEM block, its form checked. Whether it is believed is another question.
pub fn from_pem(text: &str) -> Result<(v1::SignedTrustRoot, TrustRoot), TrustFileError> {
    let bytes = pem::read(LABEL, text).map_err(|error| match error {
        PemError::Missing => TrustFileError::NoBlock,
        PemError::Damaged => TrustFileError::Damaged,
    })?;
    let signed = v1::SignedTrustRoot::decode(bytes.as_slice());
    let signed = signed.map_err(|_message| TrustFileError::Damaged)?;
    let root = TrustRoot::decode(&signed.body).map_err(TrustFileError::Root)?;
    Ok((signed, root))
}
