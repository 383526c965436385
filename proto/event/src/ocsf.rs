//! An event as an object of the Open Cybersecurity Schema Framework (OCSF), version 1.7.0.
//!
//! Each kind has its class and activity; `docs/ocsf.md` has the table. The profiles are `host`,
//! `security_control`, `linux/linux_users`, and `container` where the process runs in one.
//!
//! # Invariants
//!
//! - Every event maps, and the object has every attribute that its class requires.
//! - Nothing is lost: what OCSF has no place for stands in `unmapped`, under the names of our JSON.
//!   Only times are cut to milliseconds; `metadata.original_time` has all digits of the event's.
//! - What is required and not known is said as `unknown` or 0, never guessed.

mod activity;
mod actor;
mod bare;
mod envelope;
mod file;
mod identity;
mod kernel;
mod left;
mod network;
mod own;
mod part;
mod process;

use serde_json::Value;

use self::activity::Mapped;
use crate::{Detail, Event, Origin};

/// The version of OCSF.
pub const VERSION: &str = "1.7.0";

/// The event as a JSON value. `hostname` is how the host calls itself, where that is known.
pub fn to_value(event: &Event, origin: &Origin, hostname: Option<&str>) -> Value {
    envelope::wrap(event, origin, hostname, mapped(event))
}

/// The event as one line, without its newline.
pub fn to_string(event: &Event, origin: &Origin, hostname: Option<&str>) -> String {
    to_value(event, origin, hostname).to_string()
}

/// Says in an event of [`to_value`] that it was signed by this branch of its host's event keys, which is not the host.
pub fn mark_doubtful(value: &mut Value, branch: &str) {
    crate::json::put(value, ("unmapped", "doubtful"), branch);
}

fn mapped(event: &Event) -> Mapped {
    let Some(detail) = &event.detail else {
        return bare::bare(event);
    };
    match detail {
        Detail::File(it) => file::file(event.kind, it),
        Detail::Script(it) => file::script(it),
        Detail::ScheduledJob(it) => file::scheduled_job(it),
        Detail::AccountChange(it) => identity::account_change(it),
        Detail::Memfd(it) => file::memfd(it),
        Detail::Mount(it) => file::mount(it),
        Detail::Exit(it) => process::exit(event, it),
        Detail::Fork(it) => process::fork(event, it),
        Detail::ExecFailed(it) => process::exec_failed(event, it),
        Detail::Cred(it) => process::cred(event, it),
        Detail::Ptrace(it) => process::ptrace(it),
        Detail::Signal(it) => process::signal(it),
        Detail::IoUring(it) => process::io_uring(event, it),
        Detail::MemExec(it) => kernel::mem_exec(event, it),
        Detail::Module(it) => kernel::module(it),
        Detail::Bpf(it) => kernel::bpf(it),
        Detail::Device(it) => kernel::device(it),
        Detail::Network(it) => network::network(event.kind, it),
        Detail::Dns(it) => network::dns(it),
        Detail::Login(it) => identity::login(event.kind, it),
        Detail::Containment(it) => own::containment(it),
        Detail::Sensor(it) => own::sensor(it),
        Detail::Loss(it) => own::loss(it),
        Detail::Gap(it) => own::gap(it),
        Detail::Log(_) => own::finding(event),
    }
}
