//! What is asked about an event: its observations.
//!
//! An observation whose context or value is not known is not made: a source that cannot know
//! something never makes it look strange.

mod flags;
pub(crate) mod past;

use std::borrow::Cow;
use std::net::IpAddr;

use picket_event::{Event, File, Kind, Login, Network, Process};

use crate::command::line;
use crate::factor::Factor;
use crate::place;

/// One value in one context.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observation<'e> {
    /// Which question.
    pub(crate) factor: Factor,
    /// In what context.
    pub(crate) context: Cow<'e, [u8]>,
    /// What was seen there.
    pub(crate) value: Cow<'e, [u8]>,
    /// What stands for the value in the more general contexts, where that is not the value itself.
    pub(crate) wider: Option<Cow<'e, [u8]>>,
}

/// The observations of an event; none for kinds that are not scored.
pub(crate) fn observe(event: &Event) -> Vec<Observation<'_>> {
    let mut seen = Observations {
        list: Vec::with_capacity(MOST),
    };
    match event.kind {
        Kind::Exec => seen.exec(event.process.as_ref()),
        Kind::NetConnect | Kind::NetAccept | Kind::NetListen => {
            seen.network(event.kind, event.process.as_ref(), event.network());
        }
        Kind::Login => seen.login(event.login()),
        Kind::AccountSwitch => seen.account_switch(event.login()),
        kind if kind.is_file() => seen.file(kind, event.process.as_ref(), event.file()),
        _ => {}
    }
    seen.list
}

/// Observations that an event has at most.
pub(crate) const MOST: usize = 8;

struct Observations<'e> {
    list: Vec<Observation<'e>>,
}

impl<'e> Observations<'e> {
    fn exec(&mut self, process: Option<&'e Process>) {
        let Some(process) = process else { return };
        let program = program(process);
        let parent = process
            .ancestry
            .first()
            .map(|parent| place::program(parent.exe.as_bytes()));
        if let Some(parent) = parent {
            self.add(Factor::ChildOfParent, parent.clone(), program.clone());
            self.add_known(
                Factor::ProgramDirectory,
                parent,
                place::directory_class(&program),
            );
        }
        let user = process
            .user
            .as_ref()
            .map(|user| format!("uid {}", user.uid).into_bytes());
        let terminal = if process.tty.is_empty() {
            "no terminal"
        } else {
            "a terminal"
        };
        let directory = place::class_of_directory(process.cwd.as_bytes());
        self.add_known(Factor::UserOfProgram, program.clone(), user);
        self.add(
            Factor::TerminalOfProgram,
            program.clone(),
            terminal.as_bytes(),
        );
        self.add_known(Factor::WorkingDirectory, program.clone(), directory);
        self.add_known(
            Factor::FlagsOfProgram,
            program.clone(),
            flags::of(&process.argv),
        );
        if let Some(line) = line::joined(&process.argv) {
            self.add_wide(Factor::CommandLine, b"this host", line, program);
        }
    }

    fn file(&mut self, kind: Kind, process: Option<&'e Process>, file: Option<&'e File>) {
        let Some(file) = file else { return };
        let program = process.map(program).unwrap_or_default();
        if kind == Kind::FileOpen {
            let path = file.path.as_bytes();
            self.add(Factor::ReaderOfSecret, path, program.clone());
            self.add(Factor::SecretOfProgram, program, path);
        } else {
            let target = if file.new_path.is_empty() {
                &file.path
            } else {
                &file.new_path
            };
            let directory = place::directory_class(target.as_bytes()).unwrap_or_default();
            self.add(Factor::FileDirectory, program.clone(), directory.clone());
            self.add(Factor::ProgramInDirectory, directory, program);
        }
    }

    fn network(&mut self, kind: Kind, process: Option<&'e Process>, network: Option<&'e Network>) {
        let (Some(process), Some(network)) = (process, network) else {
            return;
        };
        let (factor, port) = match kind {
            Kind::NetConnect => (Factor::Destination, network.remote_port),
            Kind::NetAccept => (Factor::Peer, network.local_port),
            _ => (Factor::ListeningPort, network.local_port),
        };
        let port = format!("{} {port}", bounded(&network.proto));
        if kind == Kind::NetListen {
            self.add(factor, program(process), port.into_bytes());
        } else if let Some(remote) = network.remote_ip {
            let value = format!("{} {port}", place::network(remote)).into_bytes();
            self.add_wide(factor, program(process), value, port.into_bytes());
        }
    }

    fn login(&mut self, login: Option<&'e Login>) {
        let Some(login) = login.filter(|login| login.outcome != "failure") else {
            return;
        };
        let user = login.user.as_bytes();
        self.login_source(user, login);
        self.add(Factor::MethodOfUser, user, login.method.as_bytes());
        self.add(Factor::ServiceOfUser, user, login.service.as_bytes());
    }

    /// An address is known by its network too, a name only by itself.
    fn login_source(&mut self, user: &'e [u8], login: &'e Login) {
        let source: Cow<'e, [u8]> = if let Ok(ip) = login.source_ip.parse::<IpAddr>() {
            let (address, network) = (ip.to_canonical().to_string(), place::network(ip));
            self.add_wide(
                Factor::SourceOfUser,
                user,
                address.clone().into(),
                network.into(),
            );
            address.into_bytes().into()
        } else {
            let host = login.source_host.as_bytes();
            let source = if host.is_empty() { b"this host" } else { host };
            self.add(Factor::SourceNameOfUser, user, source);
            source.into()
        };
        self.add(Factor::UserOfSource, source, user);
    }

    fn account_switch(&mut self, login: Option<&'e Login>) {
        let Some(login) = login.filter(|login| login.outcome != "failure") else {
            return;
        };
        self.add(
            Factor::AccountOfUser,
            login.user.as_bytes(),
            login.target_user.as_bytes(),
        );
    }

    fn add(
        &mut self,
        factor: Factor,
        context: impl Into<Cow<'e, [u8]>>,
        value: impl Into<Cow<'e, [u8]>>,
    ) {
        let (context, value) = (context.into(), value.into());
        if !context.is_empty() && !value.is_empty() {
            self.list.push(Observation {
                factor,
                context,
                value,
                wider: None,
            });
        }
    }

    fn add_known(&mut self, factor: Factor, context: Vec<u8>, value: Option<Vec<u8>>) {
        self.add(factor, context, value.unwrap_or_default());
    }

    fn add_wide(
        &mut self,
        factor: Factor,
        context: impl Into<Cow<'e, [u8]>>,
        value: Vec<u8>,
        wider: Vec<u8>,
    ) {
        let before = self.list.len();
        self.add(factor, context, value);
        if let Some(added) = self.list.get_mut(before) {
            added.wider = Some(wider.into());
        }
    }
}

/// What the process runs: the script where the executable is only its interpreter.
fn program(process: &Process) -> Vec<u8> {
    if process.memfd {
        b"(memory)".to_vec()
    } else if process.script.is_empty() {
        place::program(process.exe.as_bytes())
    } else {
        place::program(process.script.as_bytes())
    }
}

/// A protocol's name, which is short unless somebody lies.
fn bounded(text: &str) -> &str {
    if text.len() <= 16 { text } else { "?" }
}
