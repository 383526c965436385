//! The purposes that bytes are signed or hashed for.
//!
//! What stays true: the strings never change, no two are equal, and none holds a zero byte. The zero
//! byte after the prefix therefore ends it, and no message of one domain is a message of another.

use std::fmt;

/// What a signature or a hash is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Domain {
    /// A batch's header, signed by the epoch's event key.
    BatchHeader,
    /// The old epoch's key vouching for the new one.
    Succession,
    /// A command, signed by its requester and approvers.
    Command,
    /// The enrolment nonce, signed by the TLS key of the request.
    EnrollTls,
    /// The enrolment nonce, signed by the first event key.
    EnrollEvent,
    /// The hash of an enrolment token's secret.
    Token,
    /// The enrolment fingerprint over CA certificate and trust root.
    Anchors,
    /// The hash of a host's machine id.
    MachineId,
    /// A trust root, signed by the threshold of its predecessor.
    TrustRoot,
    /// An operator's request for a certificate.
    OperatorRequest,
    /// A collector's checkpoint over all headers it has taken.
    Checkpoint,
    /// The nonce of a renewal, signed by the newest event key.
    Renewal,
    /// What a person says about a command: a denial, a cancellation.
    Statement,
    /// The hash of a code that ends an isolation on the host itself.
    BreakGlass,
    /// The hash of rules or a policy, signed by who may and approvers.
    Content,
    /// That one host is another one that was enrolled before, in a person's word.
    Replacement,
    /// The name of the secret that a fleet's hashes are made with.
    Fleet,
    /// What a fleet knows, signed by its collector.
    Prior,
    /// A host in the tree of a command's hosts.
    HostSet,
}

impl Domain {
    /// Every domain.
    pub const ALL: [Self; 19] = [
        Self::BatchHeader,
        Self::Succession,
        Self::Command,
        Self::EnrollTls,
        Self::EnrollEvent,
        Self::Token,
        Self::Anchors,
        Self::MachineId,
        Self::TrustRoot,
        Self::OperatorRequest,
        Self::Checkpoint,
        Self::Renewal,
        Self::Statement,
        Self::BreakGlass,
        Self::Content,
        Self::Replacement,
        Self::Fleet,
        Self::Prior,
        Self::HostSet,
    ];

    /// The fixed text that opens every message of this domain, without the zero byte that ends it.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::BatchHeader => "picket/batch-header/v1",
            Self::Succession => "picket/succession/v1",
            Self::Command => "picket/command/v1",
            Self::EnrollTls => "picket/enroll-tls/v1",
            Self::EnrollEvent => "picket/enroll-event/v1",
            Self::Token => "picket/token/v1",
            Self::Anchors => "picket/anchors/v1",
            Self::MachineId => "picket/machine-id/v1",
            Self::TrustRoot => "picket/trust-root/v1",
            Self::OperatorRequest => "picket/operator-request/v1",
            Self::Checkpoint => "picket/checkpoint/v1",
            Self::Renewal => "picket/renewal/v1",
            Self::Statement => "picket/statement/v1",
            Self::BreakGlass => "picket/break-glass/v1",
            Self::Content => "picket/content/v1",
            Self::Replacement => "picket/replacement/v1",
            Self::Fleet => "picket/fleet/v1",
            Self::Prior => "picket/prior/v1",
            Self::HostSet => "picket/host-set/v1",
        }
    }

    /// The exact message that is signed: prefix, one zero byte, `bytes`.
    ///
    /// For signers that are not a [`SigningKey`](crate::SigningKey), such as a TLS key.
    pub fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.prefix().as_bytes(), &[0], bytes].concat()
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.prefix())
    }
}
