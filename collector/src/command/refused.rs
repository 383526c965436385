//! Why a command, an approval, a denial or a cancellation was not taken.

use picket_event::command::CommandError;
use picket_event::statement::StatementError;
use picket_event::trust::{ActionClass, TrustError};
use picket_event::{HostId, UnixNanos};

use crate::database::DatabaseError;
use crate::refusal::Refusal;

pub(super) use picket_event::command::MAX_COMMAND_BYTES;

/// No more persons than this sign one command.
pub(super) const MAX_SIGNATURES: usize = 32;

/// Why a command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Too many bytes.
    #[error("the command is larger than {MAX_COMMAND_BYTES} bytes")]
    TooLarge,
    /// Not a command.
    #[error("the command is malformed")]
    Form(#[from] CommandError),
    /// For nobody.
    #[error("the command names no host")]
    NoHost,
    /// Not enough persons signed, or not the right ones.
    #[error("the command is not approved")]
    Trust(#[from] TrustError),
    /// More approvals are missing than persons could give.
    #[error("the class {class} takes {missing} more persons than the trust root has approvers")]
    NobodyLeft {
        /// Which class.
        class: ActionClass,
        /// How many approvals are missing.
        missing: usize,
    },
    /// One person on too many hosts.
    #[error(
        "{hosts} hosts in an hour on one person's word, more than {most}: one command for more than ten hosts goes out with an approval"
    )]
    TooManyHosts {
        /// With this command.
        hosts: u64,
        /// The limit.
        most: u64,
    },
    /// Its time is over.
    #[error("the command expired at {0}")]
    Expired(UnixNanos),
    /// Its time is longer than any host would accept.
    #[error("the command is good for more than 24 hours")]
    TooLong,
    /// A host that is not enrolled here.
    #[error("the host {0} is not known")]
    UnknownHost(HostId),
    /// A host that was revoked.
    #[error("the host {0} was revoked")]
    RevokedHost(HostId),
    /// Another command of this id.
    #[error("there is another command of this id")]
    Taken,
    /// No command of this id.
    #[error("no command has this id")]
    NotFound,
    /// It waits for nobody.
    #[error("the command is {0}: it waits for no approval")]
    NotRequested(&'static str),
    /// A ring, by another person.
    #[error("only `{0}`, who asked for it, begins its rings")]
    NotRequester(String),
    /// A ring, of what is over or waits.
    #[error("the command is {0}: none of its rings begins")]
    NotOpen(&'static str),
    /// Not the next ring.
    #[error("ring {ring} is not the next: {began} of {of} began")]
    NotNext {
        /// Which was to begin.
        ring: u32,
        /// The last that did.
        began: u32,
        /// How many there are.
        of: usize,
    },
    /// The requester again.
    #[error("`{0}` asked for it and cannot approve it")]
    OwnRequest(String),
    /// A denial or cancellation that nobody signed, or not for this.
    #[error("the statement is not one of this command")]
    OtherStatement,
    /// A denial or cancellation that is not believed.
    #[error("the statement is refused")]
    Statement(#[from] StatementError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl SubmitError {
    /// Its fixed name.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::TooLarge => Refusal::TooLarge,
            Self::Form(_) | Self::NoHost => Refusal::BadCommand,
            Self::Trust(error) | Self::Statement(StatementError::Trust(error)) => of_trust(error),
            Self::NobodyLeft { .. } => Refusal::NotApproved,
            Self::TooManyHosts { .. } => Refusal::TooManyHosts,
            Self::Expired(_) | Self::TooLong => Refusal::CommandExpired,
            Self::UnknownHost(_) | Self::NotFound => Refusal::NotFound,
            Self::RevokedHost(_) => Refusal::Revoked,
            Self::Taken => Refusal::CommandExists,
            Self::NotRequested(_) => Refusal::NotRequested,
            Self::NotOpen(_) | Self::NotNext { .. } => Refusal::NotNext,
            Self::OwnRequest(_) => Refusal::OwnRequest,
            Self::NotRequester(_) | Self::OtherStatement | Self::Statement(_) => {
                Refusal::BadStatement
            }
            Self::Database(_) => Refusal::Internal,
        }
    }
}

const fn of_trust(error: &TrustError) -> Refusal {
    match error {
        TrustError::Expired(_) => Refusal::TrustExpired,
        TrustError::WrongRole { .. } => Refusal::NotAnApprover,
        _ => Refusal::NotApproved,
    }
}
