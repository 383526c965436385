//! What a command names, and which events show it.
//!
//! What stays true: an event shows a test only by something that the command itself says: the name of a program that starts, a path, the
//! other end of a connection; or by a kind of deed that nothing does by the way.

use std::collections::BTreeSet;

use picket_event::{Event, Kind, Process};

use super::Test;
use crate::coverage::record::Played;
use crate::coverage::words;

/// What a command names.
#[derive(Debug)]
pub(super) struct Named {
    programs: BTreeSet<String>,
    paths: BTreeSet<String>,
    words: BTreeSet<String>,
}

impl Named {
    /// What this test names, as it was played: programs by their new names too.
    pub(super) fn of(test: &Test, played: &Played) -> Self {
        let paths = words::paths(&test.command, &played.home);
        let files = paths.iter().filter_map(|path| path.rsplit('/').next());
        let mut programs: BTreeSet<String> = files.map(str::to_owned).collect();
        programs.extend(played.programs.keys().cloned());
        programs.extend(played.renamed.values().cloned());
        Self {
            programs,
            words: words::words(&test.command),
            paths,
        }
    }

    /// What of it this event shows.
    pub(super) fn shown_by(&self, event: &Event) -> Option<String> {
        let process = event.process.as_ref()?;
        let shown = match event.kind {
            Kind::Exec | Kind::ExecFailed => self.program(process)?,
            Kind::NetConnect | Kind::NetListen | Kind::NetAccept => self.peer(event)?,
            Kind::Ptrace
            | Kind::ModuleLoad
            | Kind::BpfLoad
            | Kind::Mount
            | Kind::Memfd
            | Kind::IoUring
            | Kind::MemExec
            | Kind::ScheduledJob
            | Kind::AccountChange
            | Kind::AccountSwitch
            | Kind::Login
            | Kind::LoginFailed
            | Kind::Signal => String::new(),
            _ => self.file(event)?,
        };
        Some(
            format!("{} {shown}", event.kind.name())
                .trim_end()
                .to_owned(),
        )
    }

    fn program(&self, process: &Process) -> Option<String> {
        let first = process.argv.first().map(|text| text.basename().to_vec());
        let names = [
            process.exe.basename().to_vec(),
            process.script.basename().to_vec(),
            process.comm.as_bytes().to_vec(),
            first.unwrap_or_default(),
        ];
        let names = names
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned());
        names.into_iter().find(|name| self.programs.contains(name))
    }

    fn file(&self, event: &Event) -> Option<String> {
        let file = event.file()?;
        let touched = [file.path.lossy(), file.new_path.lossy()];
        let named = |path: &&std::borrow::Cow<'_, str>| {
            let under = |named: &String| {
                path.strip_prefix(named.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            // A name without a folder is where the shell stands.
            let file = path.rsplit('/').next().unwrap_or_default();
            self.paths.iter().any(under) || (file.len() > 2 && self.words.contains(file))
        };
        touched
            .iter()
            .find(named)
            .map(|path| path.clone().into_owned())
    }

    fn peer(&self, event: &Event) -> Option<String> {
        let network = event.network()?;
        let said = |text: &str| {
            let within = |word: &String| word.split(':').any(|part| part == text);
            self.words.iter().any(within)
        };
        let port = match event.kind {
            Kind::NetConnect => network.remote_port,
            _ => network.local_port,
        };
        let local = network.remote_ip.is_some_and(|ip| ip.is_loopback());
        let by_address = network.remote_ip.is_some_and(|ip| said(&ip.to_string()));
        let by_name = local && said("localhost");
        let by_device = self
            .words
            .iter()
            .any(|word| word.starts_with("/dev/tcp/") || word.starts_with("/dev/udp/"));
        (by_address || by_name || by_device || said(&port.to_string())).then(|| port.to_string())
    }
}
