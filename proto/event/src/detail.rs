//! What an event says beyond who acted.

mod file;
mod kernel;
mod ledger;
mod login;
mod network;
mod own;
mod process;
mod words;

pub use file::{File, ScheduledJob, Script};
pub use kernel::{Bpf, Device, IoUring, Module, Mount};
pub use ledger::{KindCounts, Loss, LossCause, LostBy};
pub use login::{AccountChange, LogLine, Login};
pub use network::{Dns, Network};
pub use own::{
    Affected, Containment, Gap, GapReason, Hook, HookState, PolicyCause, ReceiptState, SensorState,
};
pub use process::{
    CredChange, Credentials, ExecFailed, Exit, Fork, MemExec, Memfd, Ptrace, Signal,
};

/// The part of an event that depends on its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// A file.
    File(File),
    /// How a process ended.
    Exit(Exit),
    /// A connection.
    Network(Network),
    /// A login.
    Login(Login),
    /// The sensor's ledger.
    Loss(Loss),
    /// What was done about a command.
    Containment(Containment),
    /// The sensor's state.
    Sensor(SensorState),
    /// The new process.
    Fork(Fork),
    /// Lost numbers.
    Gap(Gap),
    /// A file in memory.
    Memfd(Memfd),
    /// Credentials before and after.
    Cred(CredChange),
    /// A process that was reached into.
    Ptrace(Ptrace),
    /// A signal.
    Signal(Signal),
    /// Memory that became executable.
    MemExec(MemExec),
    /// A kernel module.
    Module(Module),
    /// A BPF program.
    Bpf(Bpf),
    /// A mount.
    Mount(Mount),
    /// A ring.
    IoUring(IoUring),
    /// A device.
    Device(Device),
    /// A script.
    Script(Script),
    /// A scheduled job.
    ScheduledJob(ScheduledJob),
    /// A name.
    Dns(Dns),
    /// A program that could not be started.
    ExecFailed(ExecFailed),
    /// A change of who may log in.
    AccountChange(AccountChange),
    /// A line of a log.
    Log(LogLine),
}
