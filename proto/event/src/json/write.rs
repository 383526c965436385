//! Events to JSON.

mod actor;
mod file;
mod kernel;
mod login;
mod network;
mod object;
mod own;
mod process;
mod verdict;

use self::object::{Json, Object, Plain};
pub(super) use self::own::counts;
use crate::{Detail, Event, Origin};

/// Room that most events fit in, so that their text seldom moves while it grows.
const USUAL_BYTES: usize = 2048;

pub(super) fn event(event: &Event, origin: &Origin) -> Json {
    let object = Object::with_room(USUAL_BYTES)
        .put("kind", event.kind.name())
        .put("seq", event.seq)
        .put("time", Plain(event.time))
        .maybe("host", origin.host.map(Plain))
        .put("boot", Plain(origin.boot))
        .put("source", event.source.name())
        .maybe("boot_ns", (event.boot_ns != 0).then_some(event.boot_ns))
        .maybe("process", event.process.as_ref().map(actor::process));
    let object = match &event.detail {
        Some(detail) => put_detail(object, detail),
        None => object,
    };
    object
        .list("verdicts", &event.verdicts, verdict::verdict)
        .done()
}

fn put_detail(object: Object, detail: &Detail) -> Object {
    match detail {
        Detail::File(it) => object.put("file", file::file(it)),
        Detail::Exit(it) => object.put("exit", process::exit(it)),
        Detail::Network(it) => object.put("network", network::network(it)),
        Detail::Login(it) => object.put("login", login::login(it)),
        Detail::Loss(it) => object.put("loss", own::loss(it)).put("final", it.last),
        Detail::Containment(it) => object.put("containment", own::containment(it)),
        Detail::Sensor(it) => object.put("sensor", own::sensor(it)),
        Detail::Fork(it) => object.put("fork", process::fork(it)),
        Detail::Gap(it) => object.put("gap", own::gap(it)),
        Detail::Memfd(it) => object.put("memfd", process::memfd(it)),
        Detail::Log(it) => object.put("log", login::log_line(it)),
        Detail::Cred(it) => object.put("cred", process::cred(it)),
        Detail::Ptrace(it) => object.put("ptrace", process::ptrace(it)),
        Detail::Signal(it) => object.put("signal", process::signal(it)),
        Detail::MemExec(it) => object.put("mem_exec", process::mem_exec(it)),
        Detail::Module(it) => object.put("module", kernel::module(it)),
        Detail::Bpf(it) => object.put("bpf", kernel::bpf(it)),
        Detail::Mount(it) => object.put("mount", kernel::mount(it)),
        Detail::IoUring(it) => object.put("io_uring", kernel::io_uring(it)),
        Detail::Device(it) => object.put("device", kernel::device(it)),
        Detail::Script(it) => object.put("script", file::script(it)),
        Detail::ScheduledJob(it) => object.put("scheduled_job", file::scheduled_job(it)),
        Detail::AccountChange(it) => object.put("account_change", login::account_change(it)),
        Detail::Dns(it) => object.put("dns", network::dns(it)),
        Detail::ExecFailed(it) => object.put("exec_failed", process::exec_failed(it)),
    }
}
