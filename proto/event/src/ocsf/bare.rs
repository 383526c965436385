//! Events without a detail: those whose process or verdicts say all, and those of which only the
//! kind is known.

use super::activity::{ERROR, LIFECYCLE, MEMORY, Mapped, PROCESS, REMEDY, status};
use super::actor::process_or_unknown;
use super::envelope::product;
use super::part::{Part, UNKNOWN};
use super::{file, identity, kernel, network, own, process};
use crate::{Bpf, Device, Event, File, Kind, Login, Memfd, Module, Mount, ScheduledJob, Script};

pub(super) fn bare(event: &Event) -> Mapped {
    match event.kind {
        Kind::Exec => process::exec(event),
        Kind::Finding => own::finding(event),
        kind if kind.is_file() => file::file(kind, &File::default()),
        kind if kind.is_network() => network::unknown(kind),
        Kind::Login
        | Kind::Logoff
        | Kind::LoginFailed
        | Kind::AccountSwitch
        | Kind::AccountChange
        | Kind::Session => identity::login(event.kind, &Login::default()),
        Kind::Memfd => file::memfd(&Memfd::default()),
        Kind::Mount => file::mount(&Mount::default()),
        Kind::Script => file::script(&Script::default()),
        Kind::ScheduledJob => file::scheduled_job(&ScheduledJob::default()),
        Kind::ModuleLoad => kernel::module(&Module::default()),
        Kind::BpfLoad => kernel::bpf(&Bpf::default()),
        Kind::Device => kernel::device(&Device::default()),
        Kind::MemExec => Mapped::new(MEMORY, (0, "Unknown")).with(by(event)),
        Kind::Sensor => Mapped::other(LIFECYCLE, "").with(Part::new().put("app", product())),
        Kind::Gap => Mapped::new(ERROR, (1, "General Error")),
        Kind::Loss => Mapped::other(ERROR, "Ledger"),
        Kind::Containment => Mapped::new(REMEDY, (0, "Unknown")).with(unknown_command()),
        kind => of_process(event, kind),
    }
}

fn by(event: &Event) -> Part {
    Part::new().part("process", Some(process_or_unknown(event)))
}

fn of_process(event: &Event, kind: Kind) -> Mapped {
    let mapped = match kind {
        Kind::ExecFailed => Mapped::new(PROCESS, (1, "Launch")).with(status(false)),
        Kind::Fork => Mapped::new(PROCESS, (1, "Launch")),
        Kind::Exit => Mapped::new(PROCESS, (2, "Terminate")),
        Kind::CredChange => Mapped::new(PROCESS, (5, "Set User ID")),
        other => Mapped::other(PROCESS, other.name()),
    };
    mapped.with(by(event))
}

fn unknown_command() -> Part {
    Part::new().put("command_uid", UNKNOWN)
}
