//! An event by Sigma's names (`Image`, `TargetFilename`) and by our own paths (`process.exe`).

use picket_event::field::{self, Value};
use picket_event::{Event, File, Kind, Network, Process, Text};

use crate::record::{FieldId, Record, Values};

/// The field that `x-ancestor` looks at.
pub(crate) const ANCESTRY: &str = "process.ancestry.exe";

/// What a name means.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    Process(OfProcess),
    /// A variable of the environment, by its name, with the bit of that name.
    Env(String, u64),
    File(OfFile),
    Network(OfNetwork),
    /// A path of our own that needs no short way.
    Path(field::Field),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OfProcess {
    Exe,
    CommandLine,
    ParentExe,
    AncestryExe,
    Cwd,
    UserName,
    UserId,
    Pid,
    ParentPid,
    Sha256,
    Hashes,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OfFile {
    /// The path that there is after the event.
    Target,
    /// The path before a rename, or the file that a link points to.
    Origin,
    /// Whether its mode has set-user-id or set-group-id.
    SetId,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OfNetwork {
    Proto,
    /// Whether this host began it.
    Initiated,
    SourceIp,
    SourcePort,
    DestinationIp,
    DestinationPort,
}

/// The names of Sigma, and the paths of ours that the rules ask for most.
const NAMES: &[(&str, Field)] = &[
    ("Image", Field::Process(OfProcess::Exe)),
    ("CommandLine", Field::Process(OfProcess::CommandLine)),
    ("ParentImage", Field::Process(OfProcess::ParentExe)),
    ("CurrentDirectory", Field::Process(OfProcess::Cwd)),
    ("User", Field::Process(OfProcess::UserName)),
    ("LogonId", Field::Process(OfProcess::UserId)),
    ("ProcessId", Field::Process(OfProcess::Pid)),
    ("ParentProcessId", Field::Process(OfProcess::ParentPid)),
    ("sha256", Field::Process(OfProcess::Sha256)),
    ("Hashes", Field::Process(OfProcess::Hashes)),
    ("TargetFilename", Field::File(OfFile::Target)),
    ("SourceFilename", Field::File(OfFile::Origin)),
    ("DestinationIp", Field::Network(OfNetwork::DestinationIp)),
    (
        "DestinationPort",
        Field::Network(OfNetwork::DestinationPort),
    ),
    ("SourceIp", Field::Network(OfNetwork::SourceIp)),
    ("SourcePort", Field::Network(OfNetwork::SourcePort)),
    ("Protocol", Field::Network(OfNetwork::Proto)),
    ("Initiated", Field::Network(OfNetwork::Initiated)),
    ("process.exe", Field::Process(OfProcess::Exe)),
    (ANCESTRY, Field::Process(OfProcess::AncestryExe)),
    ("file.set_id", Field::File(OfFile::SetId)),
];

/// More names of Sigma, each with the path of ours that holds the same.
const PATHS: &[(&str, &str)] = &[
    ("ProcessGuid", "process.uid"),
    ("ParentProcessGuid", "process.parent_uid"),
    ("UtcTime", "time"),
    ("QueryName", "dns.query"),
    ("QueryResults", "dns.answers"),
    ("QueryStatus", "dns.rcode"),
    ("query", "dns.query"),
    ("record_type", "dns.type"),
    ("answer", "dns.answers"),
];

impl Field {
    /// What `name` means; `None` if no event ever has it.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        if let Some(variable) = name.strip_prefix("process.env.") {
            return Some(Self::Env(
                variable.to_owned(),
                name_bit(variable.as_bytes()),
            ));
        }
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, field)| field.clone()).or_else(|| {
            let path = PATHS.iter().find(|(known, _)| *known == name);
            field::Field::named(path.map_or(name, |(_, path)| path)).map(Self::Path)
        })
    }
}

/// Whether `name` can only be meant as a path of our own: Sigma's names have no dot.
pub(crate) fn is_own_path(name: &str) -> bool {
    name.contains('.')
}

/// An event as a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventRecord<'a> {
    event: &'a Event,
    columns: &'a [Option<Field>],
    /// The bits of all names in the environment: most rules ask for variables that are not there.
    env: u64,
}

impl<'a> EventRecord<'a> {
    pub(crate) fn new(event: &'a Event, columns: &'a [Option<Field>]) -> Self {
        let variables = event.process.iter().flat_map(|process| &process.env);
        let env = variables.fold(0, |bits, variable| {
            bits | name_bit(variable.name.as_bytes())
        });
        Self {
            event,
            columns,
            env,
        }
    }
}

/// One of 64 bits, by the length and two bytes of a name.
fn name_bit(name: &[u8]) -> u64 {
    let byte = |at: usize| usize::from(name.get(at).copied().unwrap_or(0));
    let spread = name.len() * 7 + byte(0) * 3 + byte(name.len() / 2) * 5;
    1 << (spread % 64)
}

impl Record for EventRecord<'_> {
    fn kind(&self) -> Kind {
        self.event.kind
    }

    fn visit(&self, field: FieldId, values: &mut Values<'_>) {
        let Some(Some(field)) = self.columns.get(field.index()) else {
            return;
        };
        match field {
            Field::Process(of) => {
                self.event
                    .process
                    .iter()
                    .for_each(|process| visit_process(process, *of, values));
            }
            Field::Env(variable, _) => {
                self.event
                    .process
                    .iter()
                    .for_each(|process| visit_env(process, variable, values));
            }
            Field::File(of) => {
                self.event
                    .file()
                    .into_iter()
                    .for_each(|file| visit_file(file, *of, values));
            }
            Field::Network(of) => self
                .event
                .network()
                .into_iter()
                .for_each(|network| visit_network(network, *of, values)),
            Field::Path(path) => path.of(self.event).into_iter().for_each(|value| {
                visit_value(value, values);
            }),
        }
    }

    fn lacks(&self, field: FieldId) -> bool {
        match self.columns.get(field.index()) {
            Some(Some(Field::Env(_, bit))) => self.env & bit == 0,
            _ => false,
        }
    }
}

fn visit_process(process: &Process, field: OfProcess, values: &mut Values<'_>) {
    match field {
        OfProcess::Exe => values.known(&process.exe),
        OfProcess::CommandLine if process.argv.is_empty() => {}
        OfProcess::CommandLine => {
            values.joined(process.argv.iter().map(Text::as_bytes), b' ');
        }
        OfProcess::ParentExe => {
            process
                .ancestry
                .first()
                .into_iter()
                .for_each(|parent| values.known(&parent.exe));
        }
        OfProcess::AncestryExe => {
            process
                .ancestry
                .iter()
                .for_each(|ancestor| values.known(&ancestor.exe));
        }
        OfProcess::Cwd => values.known(&process.cwd),
        OfProcess::UserName => process
            .user
            .iter()
            .for_each(|user| values.known(&user.name)),
        OfProcess::UserId => process.user.iter().for_each(|user| values.text(user.uid)),
        OfProcess::Pid => values.text(process.pid),
        OfProcess::ParentPid => values.text(process.ppid),
        OfProcess::Sha256 => process.sha256.iter().for_each(|digest| values.text(digest)),
        OfProcess::Hashes => {
            process
                .sha256
                .iter()
                .for_each(|digest| values.text(format_args!("SHA256={digest}")));
        }
    }
}

fn visit_env(process: &Process, variable: &str, values: &mut Values<'_>) {
    for entry in process
        .env
        .iter()
        .filter(|entry| entry.name.as_bytes() == variable.as_bytes())
    {
        values.bytes(entry.value.as_bytes());
    }
}

fn visit_file(file: &File, field: OfFile, values: &mut Values<'_>) {
    /// Set-user-id and set-group-id.
    const SET_ID: u32 = 0o6000;
    match field {
        OfFile::Target if file.new_path.is_empty() => values.known(&file.path),
        OfFile::Target => values.known(&file.new_path),
        OfFile::Origin if file.new_path.is_empty() => {}
        OfFile::Origin => values.known(&file.path),
        OfFile::SetId => file
            .mode
            .iter()
            .for_each(|mode| values.text(mode & SET_ID != 0)),
    }
}

/// The source is who began: this host, or the other one.
fn visit_network(network: &Network, field: OfNetwork, values: &mut Values<'_>) {
    let initiated = network.direction != "inbound";
    let local = (network.local_ip, network.local_port);
    let remote = (network.remote_ip, network.remote_port);
    let (source, destination) = if initiated {
        (local, remote)
    } else {
        (remote, local)
    };
    match field {
        OfNetwork::Proto => values.bytes(network.proto.as_bytes()),
        OfNetwork::Initiated => values.text(initiated),
        OfNetwork::SourceIp => source.0.iter().for_each(|ip| values.text(ip)),
        OfNetwork::SourcePort => values.text(source.1),
        OfNetwork::DestinationIp => destination.0.iter().for_each(|ip| values.text(ip)),
        OfNetwork::DestinationPort => values.text(destination.1),
    }
}

fn visit_value(value: Value<'_>, values: &mut Values<'_>) {
    match value {
        Value::Text(text) => values.bytes(text),
        Value::Word(word) => values.bytes(word.as_bytes()),
        Value::Number(number) => values.text(number),
        Value::Real(number) => values.text(number),
        Value::Flag(flag) => values.text(flag),
        Value::List(texts) => texts.into_iter().for_each(|text| values.bytes(text)),
        Value::Words(words) => words.iter().for_each(|word| values.bytes(word.as_bytes())),
    }
}
