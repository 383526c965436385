//! What can go wrong between a simulated agent and the collector.

use std::error::Error;
use std::io;

use picket_rpc::channel::ConnectError;
use picket_rpc::tls::TlsError;
use tonic::Status;

/// Why a connection was not made or did not last.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The settings of TLS are refused.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The collector ended the call.
    #[error("the collector ended the call: {0}")]
    Call(Box<Status>),
    /// The collector refused a batch.
    #[error("the collector refused a batch: {0}")]
    Refused(String),
    /// The collector did not keep to the protocol.
    #[error("{0}")]
    Protocol(&'static str),
    /// A TLS key cannot be made or used.
    #[error("failed to use a TLS key")]
    Key(#[from] rcgen::Error),
    /// A batch cannot be sealed.
    #[error("failed to seal a batch")]
    Seal(#[from] io::Error),
    /// The simulation is at its end.
    #[error("the simulation ends")]
    Ends(#[from] tokio::sync::AcquireError),
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

impl Trouble {
    /// By what it is counted.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Connect(ConnectError::Unreachable { source, .. }) => {
                format!("connect: {}", source.kind())
            }
            Self::Connect(ConnectError::Tls { source, .. }) => format!("TLS: {}", source.kind()),
            Self::Call(status) => format!("call: {:?}: {}", status.code(), status.message()),
            Self::Refused(code) => format!("refused: {code}"),
            Self::Protocol(what) => (*what).to_owned(),
            Self::Connect(_) => "HTTP/2: no channel".to_owned(),
            Self::Tls(_) | Self::Key(_) => "TLS: settings".to_owned(),
            Self::Seal(_) => "sealing".to_owned(),
            Self::Ends(_) => "the simulation ended".to_owned(),
        }
    }

    /// With its causes, in one line.
    pub(super) fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(source) = cause {
            line = format!("{line}: {source}");
            cause = source.source();
        }
        line
    }
}
