//! Every reason for which the collector says no to a peer, each with its fixed name.
//!
//! The names stand in acknowledgements, in statuses (`name: words`) and in the metrics; they keep
//! their meaning for ever.

use tonic::{Code, Status};

macro_rules! refusals {
    ($($(#[$doc:meta])* $item:ident = $name:literal, $code:ident, $words:literal;)+) => {
        /// Why a peer was refused.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Refusal {
            $($(#[$doc])* $item,)+
        }

        impl Refusal {
            /// Every refusal.
            pub const ALL: &'static [Self] = &[$(Self::$item,)+];

            /// Its fixed name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$item => $name,)+
                }
            }

            /// For people.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$item => $words,)+
                }
            }

            /// Its gRPC code.
            pub const fn code(self) -> Code {
                match self {
                    $(Self::$item => Code::$code,)+
                }
            }
        }
    };
}

refusals! {
    /// No client certificate.
    NoCertificate = "no_certificate", Unauthenticated, "this call needs a client certificate";
    /// An operator's certificate on the agents' port, or the other way round.
    WrongRole = "wrong_role", PermissionDenied, "this certificate is not for this port";
    /// Signed by us, but naming nobody.
    NoIdentity = "no_identity", Unauthenticated, "the certificate names neither a host nor an operator";
    /// Signed by us, but the database does not know it.
    UnknownPeer = "unknown_peer", PermissionDenied, "the certificate's owner is not known here";
    /// Ended by an operator.
    Revoked = "revoked", PermissionDenied, "this host was revoked";
    /// The certificate ended while the connection was open.
    CertificateExpired = "certificate_expired", Unauthenticated, "the client certificate has expired";
    /// A newer session of the same host.
    Superseded = "superseded", Aborted, "a newer session of this host took over";
    /// More calls at once than one host needs.
    TooManyCalls = "too_many_calls", ResourceExhausted, "too many calls of this kind at once";
    /// The collector stops.
    ShuttingDown = "shutting_down", Unavailable, "the collector is shutting down";
    /// The collector has more to do than it can keep.
    Busy = "busy", Unavailable, "the collector is busy, try again";
    /// The collector's own fault.
    Internal = "internal", Internal, "the collector failed; its log says why";

    /// A message, header or payload beyond its bound.
    TooLarge = "too_large", OutOfRange, "larger than anything may be";
    /// The header is no header.
    BadHeader = "bad_header", InvalidArgument, "the batch header cannot be decoded";
    /// A number that this version gives no meaning.
    UnknownEnum = "unknown_enum", InvalidArgument, "an enum has a value that this version does not know";
    /// The header names another host than the certificate.
    WrongHost = "wrong_host", PermissionDenied, "the batch names another host than the certificate";
    /// The epoch's key was never vouched for here.
    UnknownEpoch = "unknown_epoch", InvalidArgument, "the epoch key is not known";
    /// The header names another key than the epoch has.
    WrongKey = "wrong_key", InvalidArgument, "the key id is not that of the epoch key";
    /// A succession that the key before it did not sign.
    BadSuccession = "bad_succession", InvalidArgument, "a succession was refused";
    /// One key vouched for two: a clone, or a thief.
    TwoSuccessors = "two_successors", InvalidArgument, "one epoch key vouched for two successors";
    /// An operator said that this branch of the host's keys is not the host.
    BranchRefused = "branch_refused", PermissionDenied, "an operator refused this branch of the host's event keys: enrol again in a new directory";
    /// A run that another branch of the host's keys began or went on with.
    OtherBranch = "other_branch", FailedPrecondition, "this run is of another branch of the host's event keys";
    /// The signature does not fit header and key.
    BadSignature = "bad_signature", InvalidArgument, "the signature does not fit";
    /// The payload is not the one that was signed.
    PayloadHash = "payload_hash", InvalidArgument, "the payload is not the one that the header was signed for";
    /// The payload cannot be opened.
    BadPayload = "bad_payload", InvalidArgument, "the payload cannot be opened";
    /// The events' numbers are not those of the header.
    BadSequence = "bad_sequence", InvalidArgument, "the events' numbers are not those of the header";
    /// A batch without a number.
    EmptyBatch = "empty_batch", InvalidArgument, "the batch covers no number";
    /// Numbers were left out.
    ChainSkipped = "chain_skipped", FailedPrecondition, "numbers before this batch were never sent";
    /// A second history.
    ChainFork = "chain_fork", FailedPrecondition, "another history of these numbers is stored";
    /// More streams than any agent makes.
    TooManyStreams = "too_many_streams", ResourceExhausted, "the host has too many streams";
    /// The disk took no more.
    DiskFull = "disk_full", Unavailable, "the collector's disk is full";
    /// The disk failed.
    Storage = "storage", Unavailable, "the collector could not store the batch";
    /// What a host says that it has, in a form that is none.
    BadSketch = "bad_sketch", InvalidArgument, "a sketch for the fleet cannot be decoded";
    /// The session did not begin with a hello in time.
    NoHello = "no_hello", InvalidArgument, "a session begins with a hello";

    /// No such token.
    UnknownToken = "unknown_token", PermissionDenied, "the token is not known";
    /// Its time is over.
    TokenExpired = "token_expired", PermissionDenied, "the token has expired";
    /// It was used as often as it may.
    TokenUsed = "token_used", PermissionDenied, "the token has been used up";
    /// An operator ended it.
    TokenRevoked = "token_revoked", PermissionDenied, "the token was revoked";
    /// Not its secret.
    WrongSecret = "wrong_secret", PermissionDenied, "the token's secret is wrong";
    /// Never given, used, or too old.
    UnknownChallenge = "unknown_challenge", PermissionDenied, "the challenge is not known or has expired";
    /// Its certificate ended long ago.
    TooLongAway = "too_long_away", PermissionDenied, "not heard of for more than 90 days: enrol again";
    /// Not a request signed by its own key, of a kind that we take.
    BadRequest = "bad_csr", InvalidArgument, "the certificate request is not valid";
    /// Not an event key.
    BadEventKey = "bad_event_key", InvalidArgument, "the event key is not valid";
    /// A proof of possession does not fit.
    BadProof = "bad_proof", PermissionDenied, "a proof of possession does not fit";
    /// The event key was used before.
    HostExists = "host_exists", AlreadyExists, "a host with this event key is enrolled already";

    /// Not a command, or for nobody.
    BadCommand = "bad_command", InvalidArgument, "the command is malformed";
    /// Not enough persons of the trust root signed it.
    NotApproved = "not_approved", PermissionDenied, "the command is not approved by the trust root";
    /// Its time is over, or longer than any host accepts.
    CommandExpired = "command_expired", FailedPrecondition, "the command's time is over or too long";
    /// Another command of this id.
    CommandExists = "command_exists", AlreadyExists, "there is another command of this id";
    /// A signature of somebody who may not sign for that.
    NotAnApprover = "not_an_approver", PermissionDenied, "the trust root does not let this person sign for that";
    /// Of the person who asked.
    OwnRequest = "own_request", PermissionDenied, "nobody approves their own request";
    /// It waits for no approval: it is out, over, denied or cancelled.
    NotRequested = "not_requested", FailedPrecondition, "the command waits for no approval";
    /// A ring of a command that is over, waits, or whose earlier ring has not begun.
    NotNext = "not_next", FailedPrecondition, "this ring of the command cannot begin";
    /// A denial or cancellation that nobody signed, or that is about another command.
    BadStatement = "bad_statement", PermissionDenied, "the statement is not signed, or about another command";
    /// The trust root has expired.
    TrustExpired = "trust_expired", FailedPrecondition, "the trust root has expired: only what ends effects is taken";
    /// More hosts in an hour than one person may act on alone.
    TooManyHosts = "too_many_hosts", FailedPrecondition, "too many hosts in an hour on one person's word";
    /// A trust root that the one before it does not let.
    BadTrustRoot = "bad_trust_root", PermissionDenied, "the trust root does not follow the one in force";
    /// Content that too few signed, or that does not follow.
    BadContent = "bad_content", PermissionDenied, "the content is not believed or does not follow";
    /// That a host is another one, said by nobody who may, or against what is known.
    BadReplacement = "bad_replacement", PermissionDenied, "the replacement is not believed, or one of the two hosts has its pair";
    /// No such host, command or token.
    NotFound = "not_found", NotFound, "there is none";
    /// More than one host is meant.
    Ambiguous = "ambiguous", InvalidArgument, "more than one host is meant";
    /// A query that is larger than queries may be.
    QueryBounds = "query_bounds", ResourceExhausted, "the query needs more than it may use";
    /// A request that makes no sense.
    BadQuery = "bad_query", InvalidArgument, "the request is not valid";
}

impl Refusal {
    /// As the answer to a call: `name: words`.
    pub fn status(self) -> Status {
        self.saying(self.words())
    }

    /// As the answer to a call, in other words.
    pub fn saying(self, words: impl std::fmt::Display) -> Status {
        Status::new(self.code(), format!("{}: {words}", self.name()))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.status()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_refusal_has_a_name_of_its_own() {
        let names: HashSet<_> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
    }
}
