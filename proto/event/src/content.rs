//! Content: rules, policy and configuration that persons sign, and every host checks for itself.
//!
//! The SHA-256 of the body is what is signed, so that an audit proves it without holding it.
//!
//! # Invariants
//!
//! - Names of files are one plain word; a body is bounded in bytes and files.
//! - The first signature is of the role content; the others are of approvers, who are other persons.

use std::collections::BTreeSet;

use picket_proto::v1;
use picket_seal::{Digest, Domain};
use prost::Message;

use crate::kind::closed_set;
use crate::pem::{self, PemError};
use crate::trust::{ActionClass, Signed, Standing, TrustError, TrustRoot};
use crate::wire::known;
use crate::{EventError, UnixNanos};

/// Largest signed content, in bytes.
pub const MAX_CONTENT_BYTES: usize = 2 << 20;

/// The most files of one content.
pub const MAX_FILES: usize = 10_000;

const LABEL: &str = "PICKET CONTENT";

closed_set! {
    /// What content is.
    ContentKind, ContentKind {
        /// Sigma rules, beside the built-in ones.
        Rules = "rules",
        /// What the host does by itself: [`crate::policy`].
        Policy = "policy",
        /// Settings in place of those of the host's own file: [`crate::configuration`].
        Configuration = "configuration",
    }
}

/// Content whose form is right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Content {
    /// What it is.
    pub kind: ContentKind,
    /// Of this kind; a host never goes back to a lower one.
    pub version: u64,
    /// When it was made.
    pub created: UnixNanos,
    /// Its files.
    pub files: Vec<ContentFile>,
    /// Why, in the words of whoever made it.
    pub reason: String,
}

/// One file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContentFile {
    /// Its name, without a folder.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Why bytes are no content, or it is not believed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ContentError {
    /// Not a message.
    #[error("the content cannot be decoded")]
    Decode(#[source] prost::DecodeError),
    /// A field is wrong.
    #[error("a field of the content is wrong")]
    Field(#[source] EventError),
    /// Version 0 stands for none.
    #[error("the content has no version")]
    NoVersion,
    /// Larger than any.
    #[error(
        "the content is larger than {MAX_CONTENT_BYTES} bytes or has more than {MAX_FILES} files"
    )]
    TooLarge,
    /// A name that could leave its folder, or one that is there twice.
    #[error("`{0}` is no name of a file, or is there twice")]
    Name(String),
    /// Content is text.
    #[error("`{0}` is not UTF-8")]
    NotText(String),
    /// Not signed by enough of those who may.
    #[error("the content is not believed")]
    Trust(#[source] TrustError),
    /// Not a PEM block of the right label.
    #[error("it holds no block `{LABEL}`")]
    NoBlock,
    /// The block's content is damaged.
    #[error("the block `{LABEL}` is damaged")]
    Damaged,
}

impl Content {
    /// From its exact bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        if bytes.len() > MAX_CONTENT_BYTES {
            return Err(ContentError::TooLarge);
        }
        let wire = v1::ContentBody::decode(bytes).map_err(ContentError::Decode)?;
        if wire.files.len() > MAX_FILES {
            return Err(ContentError::TooLarge);
        }
        if wire.version == 0 {
            return Err(ContentError::NoVersion);
        }
        let kind = known("kind", wire.kind, ContentKind::from_wire).map_err(ContentError::Field)?;
        let mut names = BTreeSet::new();
        let mut files = Vec::with_capacity(wire.files.len());
        for file in wire.files {
            if !is_name(&file.name) || !names.insert(file.name.clone()) {
                return Err(ContentError::Name(file.name));
            }
            let text = String::from_utf8(file.text);
            let text = text.map_err(|_bytes| ContentError::NotText(file.name.clone()))?;
            files.push(ContentFile {
                name: file.name,
                text,
            });
        }
        Ok(Self {
            kind,
            version: wire.version,
            created: UnixNanos(wire.created_unix_ns),
            files,
            reason: wire.reason,
        })
    }

    /// Its bytes. Encoded once; from then on only these bytes count.
    pub fn encode(&self) -> Vec<u8> {
        let files = self.files.iter().map(|file| v1::ContentFile {
            name: file.name.clone(),
            text: file.text.clone().into_bytes(),
        });
        v1::ContentBody {
            kind: self.kind.to_wire(),
            version: self.version,
            created_unix_ns: self.created.0,
            files: files.collect(),
            reason: self.reason.clone(),
        }
        .encode_to_vec()
    }

    /// What was signed, if it is whole and enough of those whom `trust` names signed it.
    pub fn believe(
        signed: &v1::SignedContent,
        trust: &TrustRoot,
        now: UnixNanos,
    ) -> Result<(Self, Standing), ContentError> {
        let content = Self::decode(&signed.body)?;
        let digest = Digest::of(&signed.body);
        let standing = trust
            .approve(ActionClass::Content, shown(&digest, signed), now)
            .map_err(ContentError::Trust)?;
        Ok((content, standing))
    }

    /// Who signed it and who is missing, whatever the time.
    pub fn weigh(signed: &v1::SignedContent, trust: &TrustRoot) -> Result<Standing, ContentError> {
        let digest = Digest::of(&signed.body);
        trust
            .weigh_content(shown(&digest, signed))
            .map_err(ContentError::Trust)
    }
}

fn shown<'a>(digest: &'a Digest, signed: &'a v1::SignedContent) -> Signed<'a> {
    Signed {
        domain: Domain::Content,
        body: digest.as_bytes(),
        signatures: &signed.signatures,
    }
}

/// As a PEM block.
pub fn to_pem(signed: &v1::SignedContent) -> String {
    pem::write(LABEL, &signed.encode_to_vec())
}

/// From a PEM block, its form checked. Whether it is believed is another question.
pub fn from_pem(text: &str) -> Result<(v1::SignedContent, Content), ContentError> {
    let bytes = pem::read(LABEL, text).map_err(|error| match error {
        PemError::Missing => ContentError::NoBlock,
        PemError::Damaged => ContentError::Damaged,
    })?;
    let signed = v1::SignedContent::decode(bytes.as_slice());
    let signed = signed.map_err(|_message| ContentError::Damaged)?;
    let content = Content::decode(&signed.body)?;
    Ok((signed, content))
}

/// Letters, digits and `._-`, not hidden, without a folder.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use picket_seal::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::trust::{Person, Role};

    const NOW: UnixNanos = UnixNanos(1_000);

    fn content() -> Content {
        Content {
            kind: ContentKind::Policy,
            version: 3,
            created: NOW,
            files: vec![ContentFile {
                name: "policy.toml".to_owned(),
                text: "mode = \"act\"".to_owned(),
            }],
            reason: "miners".to_owned(),
        }
    }

    fn sign(body: &[u8], keys: &[&SigningKey]) -> v1::SignedContent {
        let signature = |key: &&SigningKey| v1::Signature {
            key_id: key.public_key().key_id().0.to_vec(),
            signature: key
                .sign(Domain::Content, Digest::of(body).as_bytes())
                .0
                .to_vec(),
        };
        v1::SignedContent {
            body: body.to_vec(),
            signatures: keys.iter().map(signature).collect(),
        }
    }

    fn person(name: &str, key: &SigningKey, roles: &[Role]) -> Person {
        Person {
            name: name.to_owned(),
            keys: vec![key.public_key()],
            roles: roles.to_vec(),
        }
    }

    #[test]
    fn a_person_with_the_role_and_another_who_approves_are_needed() {
        let keys: Vec<SigningKey> = (0..3).map(|_| SigningKey::generate().unwrap()).collect();
        let trust = TrustRoot::first(
            vec![
                person("ada", &keys[0], &[Role::Content, Role::Approver]),
                person("bea", &keys[1], &[Role::Approver]),
            ],
            NOW,
        );
        let body = content().encode();
        let believed = |keys: &[&SigningKey]| Content::believe(&sign(&body, keys), &trust, NOW);
        let (taken, standing) = believed(&[&keys[0], &keys[1]]).unwrap();
        assert_eq!((taken, standing.counted()), (content(), 2));
        assert!(believed(&[&keys[0]]).is_err());
        assert!(believed(&[&keys[0], &keys[0]]).is_err());
        assert!(believed(&[&keys[1], &keys[0]]).is_err());
        assert!(believed(&[&keys[0], &keys[2]]).is_err());
        assert!(believed(&[]).is_err());
        let late = trust.expires.plus(std::time::Duration::from_secs(1));
        assert!(Content::believe(&sign(&body, &[&keys[0], &keys[1]]), &trust, late).is_err());
        let mut other = sign(&body, &[&keys[0], &keys[1]]);
        other.body = Content {
            version: 4,
            ..content()
        }
        .encode();
        assert!(Content::believe(&other, &trust, NOW).is_err());
    }

    #[test]
    fn names_that_leave_their_folder_or_are_there_twice_are_refused() {
        for name in ["", ".", "..", "a/b", "../x", ".hidden", "a\0b", "a b"] {
            let mut wrong = content();
            name.clone_into(&mut wrong.files[0].name);
            let refused = Content::decode(&wrong.encode()).unwrap_err();
            assert_eq!(refused, ContentError::Name(name.to_owned()));
        }
        let mut twice = content();
        twice.files.push(twice.files[0].clone());
        assert!(Content::decode(&twice.encode()).is_err());
    }

    #[test]
    fn a_file_goes_from_person_to_person() {
        let key = SigningKey::generate().unwrap();
        let signed = sign(&content().encode(), &[&key]);
        assert_eq!(from_pem(&to_pem(&signed)).unwrap(), (signed, content()));
        assert_eq!(from_pem("").unwrap_err(), ContentError::NoBlock);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            drop(Content::decode(&bytes));
        }
    }
}
