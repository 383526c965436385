//! Events from JSON. Fields that are not known are passed over: the contract may grow.

mod actor;
mod file;
mod kernel;
mod login;
mod network;
mod object;
mod own;
mod process;
mod verdict;

use serde_json::Value;

use self::object::{Object, Result, needed};
use super::Line;
use crate::{BootId, Detail, Event, HostId, Kind, Loss, Source, UnixNanos};

pub(super) fn line(value: &Value) -> Result<Line> {
    let object = Object::of(value, "event")?;
    let event = Event {
        seq: object.number("seq")?.unwrap_or(0),
        kind: needed(
            "kind",
            object.parsed("kind", "a known kind", Kind::from_name)?,
        )?,
        time: needed(
            "time",
            object.parsed("time", "an RFC 3339 time", UnixNanos::parse)?,
        )?,
        boot_ns: object.number("boot_ns")?.unwrap_or(0),
        source: needed(
            "source",
            object.parsed("source", "a known source", Source::from_name)?,
        )?,
        process: object.object("process")?.map(actor::process).transpose()?,
        verdicts: object.objects("verdicts", verdict::verdict)?,
        detail: detail(object)?,
    };
    Ok(Line {
        event,
        host: object.parsed("host", "a host id", |text| HostId::parse(text).ok())?,
        boot: object.parsed("boot", "a boot id", |text| BootId::parse(text).ok())?,
    })
}

/// The first detail that is there; an event has one.
fn detail(event: Object<'_>) -> Result<Option<Detail>> {
    if let Some(lines) = event.object("loss")? {
        return Ok(Some(Detail::Loss(Loss {
            kinds: own::loss(lines)?,
            last: event.flag("final")?,
        })));
    }
    for (name, read) in DETAILS {
        if let Some(object) = event.object(name)? {
            return read(object).map(Some);
        }
    }
    Ok(None)
}

type Reader = fn(Object<'_>) -> Result<Detail>;

const DETAILS: &[(&str, Reader)] = &[
    ("file", |it| Ok(Detail::File(file::file(it)?))),
    ("exit", |it| Ok(Detail::Exit(process::exit(it)?))),
    ("network", |it| Ok(Detail::Network(network::network(it)?))),
    ("login", |it| Ok(Detail::Login(login::login(it)?))),
    ("containment", |it| {
        Ok(Detail::Containment(own::containment(it)?))
    }),
    ("sensor", |it| Ok(Detail::Sensor(own::sensor(it)?))),
    ("fork", |it| Ok(Detail::Fork(process::fork(it)?))),
    ("gap", |it| Ok(Detail::Gap(own::gap(it)?))),
    ("memfd", |it| Ok(Detail::Memfd(process::memfd(it)?))),
    ("cred", |it| Ok(Detail::Cred(process::cred(it)?))),
    ("ptrace", |it| Ok(Detail::Ptrace(process::ptrace(it)?))),
    ("signal", |it| Ok(Detail::Signal(process::signal(it)?))),
    ("mem_exec", |it| Ok(Detail::MemExec(process::mem_exec(it)?))),
    ("module", |it| Ok(Detail::Module(kernel::module(it)?))),
    ("bpf", |it| Ok(Detail::Bpf(kernel::bpf(it)?))),
    ("mount", |it| Ok(Detail::Mount(kernel::mount(it)?))),
    ("io_uring", |it| Ok(Detail::IoUring(kernel::io_uring(it)?))),
    ("device", |it| Ok(Detail::Device(kernel::device(it)?))),
    ("script", |it| Ok(Detail::Script(file::script(it)?))),
    ("scheduled_job", |it| {
        Ok(Detail::ScheduledJob(file::scheduled_job(it)?))
    }),
    ("account_change", |it| {
        Ok(Detail::AccountChange(login::account_change(it)?))
    }),
    ("log", |it| Ok(Detail::Log(login::log_line(it)?))),
    ("dns", |it| Ok(Detail::Dns(network::dns(it)?))),
    ("exec_failed", |it| {
        Ok(Detail::ExecFailed(process::exec_failed(it)?))
    }),
];
