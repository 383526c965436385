//! `event.category` and `event.type` of each kind, by the allowed values of ECS.

use crate::Kind;

/// The categories, and the types within them; none: ECS has none for it.
pub(super) const fn categories(kind: Kind) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        Kind::Exec | Kind::Fork => (&["process"], &["start"]),
        Kind::ExecFailed => (&["process"], &["start", "denied"]),
        Kind::Exit => (&["process"], &["end"]),
        Kind::CredChange => (&["process"], &["change"]),
        Kind::Ptrace | Kind::Signal | Kind::MemExec | Kind::IoUring => (&["process"], &["info"]),
        Kind::Memfd | Kind::FileCreate | Kind::FileLink => (&["file"], &["creation"]),
        Kind::FileModify | Kind::FileRename | Kind::FileAttr => (&["file"], &["change"]),
        Kind::FileDelete => (&["file"], &["deletion"]),
        Kind::FileOpen | Kind::Script => (&["file"], &["access"]),
        Kind::NetConnect | Kind::NetAccept => (&["network"], &["connection", "start"]),
        Kind::NetListen => (&["network"], &["info"]),
        Kind::NetClose => (&["network"], &["connection", "end"]),
        Kind::Dns => (&["network"], &["protocol"]),
        Kind::ModuleLoad | Kind::BpfLoad => (&["driver"], &["start"]),
        Kind::Mount | Kind::Device => (&["host"], &["change"]),
        Kind::Login => (&["authentication", "session"], &["start"]),
        Kind::LoginFailed => (&["authentication"], &["start"]),
        Kind::Logoff => (&["session"], &["end"]),
        Kind::Session => (&["session"], &["info"]),
        Kind::AccountSwitch => (&["authentication"], &["info"]),
        Kind::AccountChange => (&["iam"], &["change"]),
        Kind::ScheduledJob => (&["configuration"], &["change"]),
        _ => (&[], &["info"]),
    }
}
