//! Why the service did not start, or ended.

use std::net::SocketAddr;
use std::path::PathBuf;

use picket_rpc::tls::TlsError;
use picket_store::StoreError;

use crate::authority::AuthorityError;
use crate::checkpoint::SignError;
use crate::data::DataError;
use crate::database::DatabaseError;
use crate::export::ExportError;
use crate::init::InitError;
use crate::prior::PriorError;
use crate::receipts::ReceiptError;
use crate::trust::PublishError;

/// Why the service did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store cannot be used.
    #[error("failed to open the store")]
    Store(#[source] StoreError),
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Checkpoints cannot be signed.
    #[error(transparent)]
    Checkpoint(#[from] SignError),
    /// The fleet's prior cannot be kept.
    #[error(transparent)]
    Prior(#[from] PriorError),
    /// The server's certificate was not renewed.
    #[error("failed to renew the server's certificate")]
    Renew(#[source] InitError),
    /// The trust root cannot be read.
    #[error("failed to read the trust root")]
    TrustRoot(#[source] PublishError),
    /// TLS cannot be set up.
    #[error("failed to set up TLS")]
    Tls(#[from] TlsError),
    /// The server's key is not one.
    #[error("`{}` is not a private key", .0.display())]
    ServerKey(PathBuf),
    /// A port cannot be had.
    #[error("failed to listen on {address} for {what}")]
    Listen {
        /// For whom.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Signals cannot be heard.
    #[error("failed to listen for signals")]
    Signals(#[source] std::io::Error),
    /// A part ended that never should.
    #[error("{0} stopped")]
    Stopped(&'static str),
    /// A thread cannot be had.
    #[error("failed to start a thread")]
    Thread(#[source] std::io::Error),
    /// The disk can no longer be trusted.
    #[error("stopped, because the store failed")]
    StoreFailed(#[source] StoreError),
    /// An export cannot go on.
    #[error("an export cannot go on")]
    Export(#[from] ExportError),
    /// The settings are wrong.
    #[error("{0}")]
    Settings(String),
    /// Receipts cannot be followed.
    #[error(transparent)]
    Receipts(#[from] ReceiptError),
    /// A server failed.
    #[error("the server for {what} failed")]
    Server {
        /// For whom.
        what: &'static str,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The metrics server failed.
    #[error("the server for metrics failed")]
    Metrics(#[source] std::io::Error),
}
