//! Events from JSON. Fields that are not known are passed over: the contract may grow.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_seal::Digest;
use serde_json::{Map, Value};

use super::{JsonError, Line};
use crate::{
    Affected, Ancestor, BackoffLevel, BootId, CommandId, Containment, Detail, EnvVar, Event, Exit,
    Fidelity, File, Fork, Gap, GapReason, HashStatus, Hook, HookState, HostId, Kind, KindCounts,
    Login, Loss, Memfd, Namespaces, Network, Process, ProcessUid, Reason, ReceiptState,
    RuleVerdict, ScorerVerdict, SensorState, Severity, Source, Text, UnixNanos, User, Verdict,
};

type Result<T> = std::result::Result<T, JsonError>;

/// An object that is being read.
#[derive(Clone, Copy)]
struct Object<'a>(&'a Map<String, Value>);

impl<'a> Object<'a> {
    fn of(value: &'a Value, field: &'static str) -> Result<Self> {
        value.as_object().map(Self).ok_or(JsonError::Field {
            field,
            expected: "an object",
        })
    }

    fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn object(self, name: &'static str) -> Result<Option<Self>> {
        self.value(name)
            .map(|value| Self::of(value, name))
            .transpose()
    }

    fn string(self, name: &'static str) -> Result<Option<&'a str>> {
        let expected = JsonError::Field {
            field: name,
            expected: "a string",
        };
        self.value(name)
            .map(|value| value.as_str().ok_or(expected))
            .transpose()
    }

    fn word(self, name: &'static str) -> Result<String> {
        Ok(self.string(name)?.unwrap_or_default().to_owned())
    }

    fn number(self, name: &'static str) -> Result<Option<u64>> {
        let expected = JsonError::Field {
            field: name,
            expected: "a number that is not negative",
        };
        self.value(name)
            .map(|value| value.as_u64().ok_or(expected))
            .transpose()
    }

    fn small(self, name: &'static str) -> Result<Option<u32>> {
        let expected = |_large| JsonError::Field {
            field: name,
            expected: "a 32-bit number",
        };
        self.number(name)?
            .map(|number| u32::try_from(number).map_err(expected))
            .transpose()
    }

    fn signed(self, name: &'static str) -> Result<Option<i32>> {
        let number = self
            .value(name)
            .map(|value| value.as_i64().and_then(|n| n.try_into().ok()));
        let expected = JsonError::Field {
            field: name,
            expected: "a 32-bit number",
        };
        number.map(|number| number.ok_or(expected)).transpose()
    }

    fn real(self, name: &'static str) -> Result<f64> {
        let value = self.value(name).ok_or(JsonError::Missing(name))?;
        value.as_f64().ok_or(JsonError::Field {
            field: name,
            expected: "a number",
        })
    }

    fn flag(self, name: &'static str) -> Result<bool> {
        let expected = JsonError::Field {
            field: name,
            expected: "true or false",
        };
        self.value(name)
            .map_or(Ok(false), |value| value.as_bool().ok_or(expected))
    }

    fn parsed<T>(
        self,
        name: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let wrong = || JsonError::Field {
            field: name,
            expected,
        };
        self.string(name)?
            .map(|text| parse(text).ok_or_else(wrong))
            .transpose()
    }

    fn text(self, name: &'static str) -> Result<Text> {
        match self.string_of(&format!("{name}_raw")) {
            Some(raw) => unbase64(raw, name),
            None => Ok(Text::from(self.string(name)?.unwrap_or_default())),
        }
    }

    fn string_of(self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str()
    }

    fn texts(self, name: &'static str) -> Result<Vec<Text>> {
        let each = |value: &'a Value| {
            value.as_str().ok_or(JsonError::Field {
                field: name,
                expected: "a list of strings",
            })
        };
        match self.0.get(&format!("{name}_raw")).and_then(Value::as_array) {
            Some(raw) => raw
                .iter()
                .map(|value| unbase64(each(value)?, name))
                .collect(),
            None => self
                .items(name)?
                .map(|value| each(value).map(Text::from))
                .collect(),
        }
    }

    fn words(self, name: &'static str) -> Result<Vec<String>> {
        Ok(self
            .texts(name)?
            .iter()
            .map(|text| text.lossy().into_owned())
            .collect())
    }

    fn items(self, name: &'static str) -> Result<impl Iterator<Item = &'a Value>> {
        let expected = JsonError::Field {
            field: name,
            expected: "a list",
        };
        let list = self
            .value(name)
            .map(|value| value.as_array().ok_or(expected))
            .transpose()?;
        Ok(list.into_iter().flatten())
    }

    fn objects<T>(self, name: &'static str, each: impl Fn(Self) -> Result<T>) -> Result<Vec<T>> {
        self.items(name)?
            .map(|value| each(Object::of(value, name)?))
            .collect()
    }

    fn hash(self, name: &'static str) -> Result<Option<Digest>> {
        self.parsed(name, "64 hexadecimal digits", |text| {
            Digest::from_hex(text).ok()
        })
    }

    fn uid(self, name: &'static str) -> Result<Option<ProcessUid>> {
        self.parsed(name, "32 hexadecimal digits", |text| {
            ProcessUid::parse(text).ok()
        })
    }
}

fn unbase64(text: &str, field: &'static str) -> Result<Text> {
    let expected = |_base64| JsonError::Field {
        field,
        expected: "base64 in its raw twin",
    };
    STANDARD.decode(text).map(Text::from).map_err(expected)
}

fn needed<T>(name: &'static str, value: Option<T>) -> Result<T> {
    value.ok_or(JsonError::Missing(name))
}

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
        process: object.object("process")?.map(process).transpose()?,
        verdicts: object.objects("verdicts", verdict)?,
        detail: detail(object)?,
    };
    Ok(Line {
        event,
        host: object.parsed("host", "a host id", |text| HostId::parse(text).ok())?,
        boot: object.parsed("boot", "a boot id", |text| BootId::parse(text).ok())?,
    })
}

fn process(object: Object<'_>) -> Result<Process> {
    let uid = needed("process.uid", object.uid("uid")?)?;
    let mut process = Process::new(uid, needed("process.pid", object.small("pid")?)?);
    process.ppid = object.small("ppid")?.unwrap_or(0);
    process.parent_uid = object.uid("parent_uid")?;
    process.exe = object.text("exe")?;
    process.script = object.text("script")?;
    process.comm = object.text("comm")?;
    process.argv = object.texts("argv")?;
    process.argc = object.small("argc")?.unwrap_or(0);
    process.argv_bytes = object.number("argv_bytes")?.unwrap_or(0);
    process.argv_truncated = object.flag("argv_truncated")?;
    process.cwd = object.text("cwd")?;
    read_credentials(object, &mut process)?;
    read_surroundings(object, &mut process)?;
    Ok(process)
}

fn read_credentials(object: Object<'_>, process: &mut Process) -> Result<()> {
    let user = object.object("user")?;
    process.user = user
        .map(|user| {
            Ok::<_, JsonError>(User {
                uid: needed("user.uid", user.small("uid")?)?,
                name: user.text("name")?,
            })
        })
        .transpose()?;
    process.effective_uid = object.small("effective_uid")?;
    process.gid = object.small("gid")?;
    process.login_uid = object.small("login_uid")?;
    process.session = object.small("session")?;
    process.tty = object.text("tty")?;
    let caps = |text: &str| u64::from_str_radix(text, 16).ok();
    process.caps = object.parsed("caps", "16 hexadecimal digits", caps)?;
    Ok(())
}

fn read_surroundings(object: Object<'_>, process: &mut Process) -> Result<()> {
    process.start_time = object.parsed("start_time", "an RFC 3339 time", UnixNanos::parse)?;
    process.sha256 = object.hash("sha256")?;
    process.hash_status =
        object.parsed("hash_status", "a known hash status", HashStatus::from_name)?;
    process.container = object.string("container")?.map(str::to_owned);
    process.cgroup = object.text("cgroup")?;
    process.ns = object.object("ns")?.map(namespaces).transpose()?;
    process.memfd = object.flag("memfd")?;
    process.env = env(object)?;
    process.ancestry = object.objects("ancestry", ancestor)?;
    process.fidelity = object.parsed("fidelity", "a known fidelity", Fidelity::from_name)?;
    Ok(())
}

fn namespaces(object: Object<'_>) -> Result<Namespaces> {
    Ok(Namespaces {
        pid: object.small("pid")?.unwrap_or(0),
        mnt: object.small("mnt")?.unwrap_or(0),
        net: object.small("net")?.unwrap_or(0),
        user: object.small("user")?.unwrap_or(0),
    })
}

fn env(object: Object<'_>) -> Result<Vec<EnvVar>> {
    if let Some(raw) = object.value("env_raw").and_then(Value::as_array) {
        return raw.iter().map(raw_env_var).collect();
    }
    let Some(Object(map)) = object.object("env")? else {
        return Ok(Vec::new());
    };
    let text = |value: &Value| Text::from(value.as_str().unwrap_or_default());
    Ok(map
        .iter()
        .map(|(name, value)| EnvVar {
            name: Text::from(name.as_str()),
            value: text(value),
        })
        .collect())
}

fn raw_env_var(pair: &Value) -> Result<EnvVar> {
    let part = |index: usize| {
        let expected = JsonError::Field {
            field: "env_raw",
            expected: "a list of pairs",
        };
        let text = pair.get(index).and_then(Value::as_str).ok_or(expected)?;
        unbase64(text, "env_raw")
    };
    Ok(EnvVar {
        name: part(0)?,
        value: part(1)?,
    })
}

fn ancestor(object: Object<'_>) -> Result<Ancestor> {
    Ok(Ancestor {
        uid: needed("ancestry.uid", object.uid("uid")?)?,
        pid: object.small("pid")?.unwrap_or(0),
        exe: object.text("exe")?,
    })
}

fn detail(event: Object<'_>) -> Result<Option<Detail>> {
    let part = |name: &'static str| event.object(name);
    Ok(if let Some(it) = part("file")? {
        Some(Detail::File(file(it)?))
    } else if let Some(it) = part("exit")? {
        Some(Detail::Exit(exit(it)?))
    } else if let Some(it) = part("network")? {
        Some(Detail::Network(network(it)?))
    } else if let Some(it) = part("login")? {
        Some(Detail::Login(login(it)?))
    } else if let Some(it) = part("fork")? {
        Some(Detail::Fork(fork(it)?))
    } else if let Some(it) = part("memfd")? {
        Some(Detail::Memfd(Memfd {
            name: it.text("name")?,
            flags: it.small("flags")?,
        }))
    } else {
        own_detail(event)?
    })
}

/// What the agent says of itself.
fn own_detail(event: Object<'_>) -> Result<Option<Detail>> {
    let part = |name: &'static str| event.object(name);
    Ok(if let Some(it) = part("loss")? {
        Some(Detail::Loss(Loss {
            kinds: loss(it)?,
            last: event.flag("final")?,
        }))
    } else if let Some(it) = part("containment")? {
        Some(Detail::Containment(containment(it)?))
    } else if let Some(it) = part("sensor")? {
        Some(Detail::Sensor(sensor(it)?))
    } else if let Some(it) = part("gap")? {
        Some(Detail::Gap(gap(it)?))
    } else {
        None
    })
}

fn file(object: Object<'_>) -> Result<File> {
    Ok(File {
        path: object.text("path")?,
        new_path: object.text("new_path")?,
        inode: object.number("inode")?,
        dev: object.number("dev")?,
        mode: object.small("mode")?,
        size: object.number("size")?,
        sha256_before: object.hash("sha256_before")?,
        sha256_after: object.hash("sha256_after")?,
        hash_status: object.parsed("hash_status", "a known hash status", HashStatus::from_name)?,
        sensitive: object.flag("sensitive")?,
        flags: object.small("flags")?,
    })
}

fn exit(object: Object<'_>) -> Result<Exit> {
    Ok(Exit {
        code: object.signed("code")?,
        signal: object.signed("signal")?,
        duration_ns: object.number("duration_ns")?,
    })
}

fn network(object: Object<'_>) -> Result<Network> {
    let address = |name| object.parsed(name, "an address", |text| text.parse::<IpAddr>().ok());
    Ok(Network {
        proto: object.word("proto")?,
        direction: object.word("direction")?,
        local_ip: address("local_ip")?,
        local_port: object.small("local_port")?.unwrap_or(0),
        remote_ip: address("remote_ip")?,
        remote_port: object.small("remote_port")?.unwrap_or(0),
        bytes_in: object.number("bytes_in")?,
        bytes_out: object.number("bytes_out")?,
        result: object.signed("result")?,
    })
}

fn login(object: Object<'_>) -> Result<Login> {
    Ok(Login {
        user: object.text("user")?,
        outcome: object.word("outcome")?,
        service: object.word("service")?,
        method: object.word("method")?,
        source_ip: object.word("source_ip")?,
        source_port: object.small("source_port")?,
        tty: object.text("tty")?,
        key_fingerprint: object.word("key_fingerprint")?,
        session: object.small("session")?,
        seen_by: object.words("seen_by")?,
        target_user: object.text("target_user")?,
        command: object.text("command")?,
        source_host: object.text("source_host")?,
    })
}

fn fork(object: Object<'_>) -> Result<Fork> {
    Ok(Fork {
        child_uid: needed("fork.child_uid", object.uid("child_uid")?)?,
        child_pid: object.small("child_pid")?.unwrap_or(0),
    })
}

fn kind_of(name: &str, field: &'static str) -> Result<Kind> {
    Kind::from_name(name).ok_or(JsonError::Field {
        field,
        expected: "a list by known kinds",
    })
}

fn loss(Object(map): Object<'_>) -> Result<Vec<KindCounts>> {
    map.iter()
        .map(|(name, counts)| {
            let counts = Object::of(counts, "loss")?;
            let count = |name| Ok::<_, JsonError>(counts.number(name)?.unwrap_or(0));
            Ok(KindCounts {
                kind: kind_of(name, "loss")?,
                generated: count("generated")?,
                filtered: count("filtered")?,
                aggregated: count("aggregated")?,
                submitted: count("submitted")?,
                lost: count("lost")?,
            })
        })
        .collect()
}

fn containment(object: Object<'_>) -> Result<Containment> {
    let id = object.parsed("command_id", "a command id", |text| {
        CommandId::parse(text).ok()
    })?;
    let state = object.parsed("state", "a known state", ReceiptState::from_name)?;
    Ok(Containment {
        command_id: needed("containment.command_id", id)?,
        action: object.word("action")?,
        state: needed("containment.state", state)?,
        reason: object.word("reason")?,
        effect: object.word("effect")?,
        affected: object.objects("affected", affected)?,
        verified: object.flag("verified")?,
        redelivered: object.flag("redelivered")?,
        undo_token: object.word("undo_token")?,
        signers: object.words("signers")?,
        stated_reason: object.word("stated_reason")?,
    })
}

fn affected(object: Object<'_>) -> Result<Affected> {
    Ok(Affected {
        process_uid: needed("affected.process_uid", object.uid("process_uid")?)?,
        pid: object.small("pid")?.unwrap_or(0),
        exe: object.text("exe")?,
        outcome: object.word("outcome")?,
    })
}

fn sensor(object: Object<'_>) -> Result<SensorState> {
    let hooks = object.objects("hooks", |hook| {
        Ok(Hook {
            name: hook.word("name")?,
            state: HookState::from_name(&hook.word("state")?),
            detail: hook.word("detail")?,
            instead: hook.word("instead")?,
        })
    })?;
    Ok(SensorState {
        backend: object.word("backend")?,
        change: object.word("change")?,
        hooks,
    })
}

fn gap(object: Object<'_>) -> Result<Gap> {
    let reason = object.parsed("reason", "a known reason", GapReason::from_name)?;
    let mut kinds = Vec::new();
    if let Some(Object(map)) = object.object("kinds")? {
        for (name, lost) in map {
            kinds.push((kind_of(name, "gap.kinds")?, lost.as_u64().unwrap_or(0)));
        }
    }
    Ok(Gap {
        seq_first: object.number("seq_first")?.unwrap_or(0),
        count: object.number("count")?,
        reason: needed("gap.reason", reason)?,
        kinds,
    })
}

fn verdict(object: Object<'_>) -> Result<Verdict> {
    match object.string("by")? {
        Some("rule") => rule(object).map(Verdict::Rule),
        Some("scorer") => score(object).map(Verdict::Scorer),
        _ => Err(JsonError::Field {
            field: "verdicts.by",
            expected: "rule or scorer",
        }),
    }
}

fn rule(object: Object<'_>) -> Result<RuleVerdict> {
    let severity = object.parsed("severity", "a known severity", Severity::from_name)?;
    Ok(RuleVerdict {
        id: object.word("id")?,
        title: object.word("title")?,
        severity: needed("verdicts.severity", severity)?,
        attack: object.words("attack")?,
        author: object.word("author")?,
        license: object.word("license")?,
    })
}

fn score(object: Object<'_>) -> Result<ScorerVerdict> {
    Ok(ScorerVerdict {
        bits: object.real("bits")?,
        p: object.real("p")?,
        reasons: object.objects("reasons", reason)?,
        alert: object.flag("alert")?,
    })
}

fn reason(object: Object<'_>) -> Result<Reason> {
    Ok(Reason {
        factor: object.word("factor")?,
        context: object.text("context")?,
        value: object.text("value")?,
        bits: object.real("bits")?,
        usual: object.real("usual")?,
        seen: object.number("seen")?.unwrap_or(0),
        context_seen: object.number("context_seen")?.unwrap_or(0),
        days: object.small("days")?.unwrap_or(0),
        distinct: object.small("distinct")?.unwrap_or(0),
        backoff: object.objects("backoff", |level| {
            Ok(BackoffLevel {
                context: level.word("context")?,
                seen: level.number("seen")?.unwrap_or(0),
                context_seen: level.number("context_seen")?.unwrap_or(0),
                distinct: level.small("distinct")?.unwrap_or(0),
            })
        })?,
    })
}
