//! Events to JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_seal::Digest;
use serde_json::{Map, Value, json};

use crate::{
    Ancestor, Containment, Detail, EnvVar, Event, Exit, Fidelity, File, Fork, Gap, HashStatus,
    Login, Loss, Memfd, Network, Origin, Process, Reason, RuleVerdict, ScorerVerdict, SensorState,
    Text, Verdict,
};

/// An object under construction: what is not known is not put.
struct Object(Map<String, Value>);

impl Object {
    fn new() -> Self {
        Self(Map::new())
    }

    fn put(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.put(name, value),
            None => self,
        }
    }

    fn word(self, name: &str, text: &str) -> Self {
        self.maybe(name, (!text.is_empty()).then_some(text))
    }

    fn flag(self, name: &str, set: bool) -> Self {
        self.maybe(name, set.then_some(true))
    }

    fn text(self, name: &str, text: &Text) -> Self {
        if text.is_empty() {
            return self;
        }
        let raw = text.as_str().is_none().then(|| base64(text));
        self.put(name, text.lossy())
            .maybe(&format!("{name}_raw"), raw)
    }

    fn texts(self, name: &str, texts: &[Text]) -> Self {
        let lossy: Vec<Value> = texts.iter().map(|text| text.lossy().into()).collect();
        let exact = texts.iter().all(|text| text.as_str().is_some());
        let raw = (!exact).then(|| texts.iter().map(base64).collect::<Vec<_>>());
        self.put(name, lossy).maybe(&format!("{name}_raw"), raw)
    }

    fn hash(self, name: &str, digest: Option<Digest>) -> Self {
        self.maybe(name, digest.map(|digest| hex::encode(digest.as_bytes())))
    }

    fn list<T>(self, name: &str, items: &[T], each: impl Fn(&T) -> Value) -> Self {
        self.maybe(
            name,
            (!items.is_empty()).then(|| items.iter().map(each).collect::<Vec<_>>()),
        )
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn base64(text: &Text) -> String {
    STANDARD.encode(text.as_bytes())
}

pub(super) fn event(event: &Event, origin: &Origin) -> Value {
    let object = Object::new()
        .put("kind", event.kind.name())
        .put("seq", event.seq)
        .put("time", event.time.to_string())
        .maybe("host", origin.host.map(|host| host.to_string()))
        .put("boot", origin.boot.to_string())
        .put("source", event.source.name())
        .maybe("boot_ns", (event.boot_ns != 0).then_some(event.boot_ns))
        .maybe("process", event.process.as_ref().map(process));
    let object = match &event.detail {
        Some(detail) => put_detail(object, detail),
        None => object,
    };
    object.list("verdicts", &event.verdicts, verdict).done()
}

fn process(process: &Process) -> Value {
    let object = Object::new()
        .put("uid", process.uid.to_string())
        .put("pid", process.pid)
        .maybe("ppid", (process.ppid != 0).then_some(process.ppid))
        .maybe("parent_uid", process.parent_uid.map(|uid| uid.to_string()))
        .text("exe", &process.exe);
    credentials(arguments(object, process), process)
        .maybe(
            "start_time",
            process.start_time.map(|time| time.to_string()),
        )
        .hash("sha256", process.sha256)
        .maybe("hash_status", process.hash_status.map(HashStatus::name))
        .put("container", process.container.as_deref())
        .text("cgroup", &process.cgroup)
        .maybe(
            "ns",
            process
                .ns
                .map(|ns| json!({"pid": ns.pid, "mnt": ns.mnt, "net": ns.net, "user": ns.user})),
        )
        .maybe("caps", process.caps.map(|caps| format!("{caps:016x}")))
        .put("memfd", process.memfd)
        .maybe("env", (!process.env.is_empty()).then(|| env(&process.env)))
        .maybe("env_raw", env_raw(&process.env))
        .list("ancestry", &process.ancestry, ancestor)
        .maybe("fidelity", process.fidelity.map(Fidelity::name))
        .done()
}

fn arguments(object: Object, process: &Process) -> Object {
    let object = object
        .text("script", &process.script)
        .text("comm", &process.comm);
    if process.argc == 0 && process.argv.is_empty() {
        return object.text("cwd", &process.cwd);
    }
    object
        .texts("argv", &process.argv)
        .put("argc", process.argc)
        .put("argv_bytes", process.argv_bytes)
        .put("argv_truncated", process.argv_truncated)
        .text("cwd", &process.cwd)
}

fn credentials(object: Object, process: &Process) -> Object {
    let user = process.user.as_ref().map(|user| {
        Object::new()
            .put("uid", user.uid)
            .text("name", &user.name)
            .done()
    });
    object
        .maybe("user", user)
        .maybe("effective_uid", process.effective_uid)
        .maybe("gid", process.gid)
        .maybe("login_uid", process.login_uid)
        .maybe("session", process.session)
        .text("tty", &process.tty)
}

fn env(vars: &[EnvVar]) -> Value {
    let pairs = vars
        .iter()
        .map(|var| (var.name.lossy().into_owned(), var.value.lossy().into()));
    Value::Object(pairs.collect())
}

fn env_raw(vars: &[EnvVar]) -> Option<Value> {
    if vars
        .iter()
        .all(|var| var.name.as_str().is_some() && var.value.as_str().is_some())
    {
        return None;
    }
    let pairs = vars
        .iter()
        .map(|var| json!([base64(&var.name), base64(&var.value)]));
    Some(pairs.collect())
}

fn ancestor(ancestor: &Ancestor) -> Value {
    Object::new()
        .put("uid", ancestor.uid.to_string())
        .put("pid", ancestor.pid)
        .text("exe", &ancestor.exe)
        .done()
}

fn put_detail(object: Object, detail: &Detail) -> Object {
    match detail {
        Detail::File(it) => object.put("file", file(it)),
        Detail::Exit(it) => object.put("exit", exit(*it)),
        Detail::Network(it) => object.put("network", network(it)),
        Detail::Login(it) => object.put("login", login(it)),
        Detail::Loss(it) => object.put("loss", loss(it)).put("final", it.last),
        Detail::Containment(it) => object.put("containment", containment(it)),
        Detail::Sensor(it) => object.put("sensor", sensor(it)),
        Detail::Fork(it) => object.put("fork", fork(*it)),
        Detail::Gap(it) => object.put("gap", gap(it)),
        Detail::Memfd(it) => object.put("memfd", memfd(it)),
    }
}

fn file(file: &File) -> Value {
    Object::new()
        .text("path", &file.path)
        .text("new_path", &file.new_path)
        .maybe("inode", file.inode)
        .maybe("dev", file.dev)
        .maybe("mode", file.mode)
        .maybe("size", file.size)
        .hash("sha256_before", file.sha256_before)
        .hash("sha256_after", file.sha256_after)
        .maybe("hash_status", file.hash_status.map(HashStatus::name))
        .flag("sensitive", file.sensitive)
        .maybe("flags", file.flags)
        .done()
}

fn exit(exit: Exit) -> Value {
    Object::new()
        .maybe("code", exit.code)
        .maybe("signal", exit.signal)
        .maybe("duration_ns", exit.duration_ns)
        .done()
}

fn network(network: &Network) -> Value {
    let port = |port: u32| (port != 0).then_some(port);
    Object::new()
        .word("proto", &network.proto)
        .word("direction", &network.direction)
        .maybe("local_ip", network.local_ip.map(|ip| ip.to_string()))
        .maybe("local_port", port(network.local_port))
        .maybe("remote_ip", network.remote_ip.map(|ip| ip.to_string()))
        .maybe("remote_port", port(network.remote_port))
        .maybe("bytes_in", network.bytes_in)
        .maybe("bytes_out", network.bytes_out)
        .maybe("result", network.result)
        .done()
}

fn login(login: &Login) -> Value {
    Object::new()
        .text("user", &login.user)
        .word("outcome", &login.outcome)
        .word("service", &login.service)
        .word("method", &login.method)
        .word("source_ip", &login.source_ip)
        .maybe("source_port", login.source_port)
        .text("source_host", &login.source_host)
        .text("tty", &login.tty)
        .word("key_fingerprint", &login.key_fingerprint)
        .maybe("session", login.session)
        .text("target_user", &login.target_user)
        .text("command", &login.command)
        .put("seen_by", login.seen_by.clone())
        .done()
}

fn loss(loss: &Loss) -> Value {
    let lines = loss.kinds.iter().map(|line| {
        let counts = json!({
            "generated": line.generated,
            "filtered": line.filtered,
            "aggregated": line.aggregated,
            "submitted": line.submitted,
            "lost": line.lost,
        });
        (line.kind.name().to_owned(), counts)
    });
    Value::Object(lines.collect())
}

fn containment(done: &Containment) -> Value {
    Object::new()
        .put("command_id", done.command_id.to_string())
        .put("action", done.action.as_str())
        .put("state", done.state.name())
        .word("reason", &done.reason)
        .word("effect", &done.effect)
        .put("verified", done.verified)
        .flag("redelivered", done.redelivered)
        .word("undo_token", &done.undo_token)
        .put("signers", done.signers.clone())
        .word("stated_reason", &done.stated_reason)
        .list("affected", &done.affected, |one| {
            Object::new()
                .put("process_uid", one.process_uid.to_string())
                .put("pid", one.pid)
                .text("exe", &one.exe)
                .put("outcome", one.outcome.as_str())
                .done()
        })
        .done()
}

fn sensor(state: &SensorState) -> Value {
    Object::new()
        .put("backend", state.backend.as_str())
        .word("change", &state.change)
        .list("hooks", &state.hooks, |hook| {
            Object::new()
                .put("name", hook.name.as_str())
                .put("state", hook.state.name())
                .word("detail", &hook.detail)
                .word("instead", &hook.instead)
                .done()
        })
        .done()
}

fn fork(fork: Fork) -> Value {
    json!({"child_uid": fork.child_uid.to_string(), "child_pid": fork.child_pid})
}

fn gap(gap: &Gap) -> Value {
    let kinds = gap
        .kinds
        .iter()
        .map(|(kind, lost)| (kind.name().to_owned(), (*lost).into()));
    Object::new()
        .put("seq_first", gap.seq_first)
        .maybe("count", gap.count)
        .put("reason", gap.reason.name())
        .maybe(
            "kinds",
            (!gap.kinds.is_empty()).then(|| Value::Object(kinds.collect())),
        )
        .done()
}

fn memfd(memfd: &Memfd) -> Value {
    Object::new()
        .text("name", &memfd.name)
        .maybe("flags", memfd.flags)
        .done()
}

fn verdict(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Rule(verdict) => rule(verdict),
        Verdict::Scorer(verdict) => score(verdict),
    }
}

fn rule(rule: &RuleVerdict) -> Value {
    Object::new()
        .put("by", "rule")
        .put("id", rule.id.as_str())
        .put("title", rule.title.as_str())
        .put("severity", rule.severity.name())
        .put("attack", rule.attack.clone())
        .word("author", &rule.author)
        .word("license", &rule.license)
        .done()
}

fn score(score: &ScorerVerdict) -> Value {
    Object::new()
        .put("by", "scorer")
        .put("bits", score.bits)
        .put("p", score.p)
        .put("alert", score.alert)
        .put(
            "reasons",
            score.reasons.iter().map(reason).collect::<Vec<_>>(),
        )
        .done()
}

fn reason(reason: &Reason) -> Value {
    Object::new()
        .put("factor", reason.factor.as_str())
        .text("context", &reason.context)
        .text("value", &reason.value)
        .put("bits", reason.bits)
        .put("usual", reason.usual)
        .put("seen", reason.seen)
        .put("context_seen", reason.context_seen)
        .put("days", reason.days)
        .put("distinct", reason.distinct)
        .list("backoff", &reason.backoff, |level| {
            json!({
                "context": level.context,
                "seen": level.seen,
                "context_seen": level.context_seen,
                "distinct": level.distinct,
            })
        })
        .done()
}
