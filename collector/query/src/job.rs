//! What a worker is asked, as one message.

use picket_proto::v1;

use crate::doubt::Doubt;

/// One question, and all that is needed to answer it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Job {
    /// [`picket_store::View::bytes`].
    #[prost(bytes = "vec", tag = "1")]
    pub view: Vec<u8>,
    /// One `SELECT`.
    #[prost(string, tag = "2")]
    pub sql: String,
    /// At most so many rows.
    #[prost(uint64, tag = "3")]
    pub limit: u64,
    /// The fleet.
    #[prost(message, repeated, tag = "4")]
    pub hosts: Vec<v1::Host>,
    /// Commands, the newest first.
    #[prost(message, repeated, tag = "5")]
    pub commands: Vec<v1::CommandStatus>,
    /// What it may use.
    #[prost(message, optional, tag = "6")]
    pub bounds: Option<Bounds>,
    /// What others signed that speak for a host.
    #[prost(message, repeated, tag = "7")]
    pub doubts: Vec<Doubt>,
}

/// What a worker may use.
#[derive(Clone, Copy, Eq, PartialEq, prost::Message)]
pub struct Bounds {
    /// What SQLite may hold, in bytes.
    #[prost(uint64, tag = "1")]
    pub memory_bytes: u64,
    /// How long it may run, in seconds.
    #[prost(uint64, tag = "2")]
    pub seconds: u64,
}

impl Bounds {
    /// Address space of the whole process, in bytes: for SQLite, for pieces of files that are being read, for the program itself.
    pub(crate) const fn address_space(&self) -> u64 {
        self.memory_bytes.saturating_add(512 << 20)
    }
}
