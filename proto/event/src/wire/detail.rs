//! Details on the wire.

mod file;
mod kernel;
mod ledger;
mod login;
mod network;
mod own;
mod process;

use picket_proto::v1::event::Detail as Wire;

use super::EventError;
use crate::Detail;

impl From<Detail> for Wire {
    fn from(detail: Detail) -> Self {
        match detail {
            Detail::File(it) => Self::File(it.into()),
            Detail::Exit(it) => Self::Exit(it.into()),
            Detail::Network(it) => Self::Network(it.into()),
            Detail::Login(it) => Self::Login(it.into()),
            Detail::Loss(it) => Self::Loss(it.into()),
            Detail::Containment(it) => Self::Containment(it.into()),
            Detail::Sensor(it) => Self::Sensor(it.into()),
            Detail::Fork(it) => Self::Fork(it.into()),
            Detail::Gap(it) => Self::Gap(it.into()),
            Detail::Memfd(it) => Self::Memfd(it.into()),
            Detail::Cred(it) => Self::Cred(it.into()),
            Detail::Ptrace(it) => Self::Ptrace(it.into()),
            Detail::Signal(it) => Self::Signal(it.into()),
            Detail::MemExec(it) => Self::MemExec(it.into()),
            Detail::Module(it) => Self::Module(it.into()),
            Detail::Bpf(it) => Self::Bpf(it.into()),
            Detail::Mount(it) => Self::Mount(it.into()),
            Detail::IoUring(it) => Self::IoUring(it.into()),
            Detail::Device(it) => Self::Device(it.into()),
            Detail::Script(it) => Self::Script(it.into()),
            Detail::ScheduledJob(it) => Self::ScheduledJob(it.into()),
            Detail::AccountChange(it) => Self::AccountChange(it.into()),
            Detail::Dns(it) => Self::Dns(it.into()),
            Detail::ExecFailed(it) => Self::ExecFailed(it.into()),
            Detail::Log(it) => Self::Log(it.into()),
        }
    }
}

impl TryFrom<Wire> for Detail {
    type Error = EventError;

    fn try_from(wire: Wire) -> Result<Self, EventError> {
        Ok(match wire {
            Wire::File(it) => Self::File(it.try_into()?),
            Wire::Exit(it) => Self::Exit(it.into()),
            Wire::Network(it) => Self::Network(it.try_into()?),
            Wire::Login(it) => Self::Login(it.into()),
            Wire::Loss(it) => Self::Loss(it.try_into()?),
            Wire::Containment(it) => Self::Containment(it.try_into()?),
            Wire::Sensor(it) => Self::Sensor(it.into()),
            Wire::Fork(it) => Self::Fork(it.try_into()?),
            Wire::Gap(it) => Self::Gap(it.try_into()?),
            Wire::Memfd(it) => Self::Memfd(it.into()),
            Wire::Cred(it) => Self::Cred(it.try_into()?),
            Wire::Ptrace(it) => Self::Ptrace(it.try_into()?),
            Wire::Signal(it) => Self::Signal(it.try_into()?),
            Wire::MemExec(it) => Self::MemExec(it.into()),
            Wire::Module(it) => Self::Module(it.into()),
            Wire::Bpf(it) => Self::Bpf(it.into()),
            Wire::Mount(it) => Self::Mount(it.into()),
            Wire::IoUring(it) => Self::IoUring(it.into()),
            Wire::Device(it) => Self::Device(it.into()),
            Wire::Script(it) => Self::Script(it.try_into()?),
            Wire::ScheduledJob(it) => Self::ScheduledJob(it.into()),
            Wire::AccountChange(it) => Self::AccountChange(it.into()),
            Wire::Dns(it) => Self::Dns(it.try_into()?),
            Wire::ExecFailed(it) => Self::ExecFailed(it.into()),
            Wire::Log(it) => Self::Log(it.into()),
        })
    }
}
