//! One event as one line for people: when, where, what kind, who, what, and what was judged about it.
//!
//! # Invariants
//!
//! - Every text of a host goes through [`Text::for_terminal`], and is cut to [`LONGEST`] characters.

use picket_event::{
    Containment, Detail, Event, Exit, File, Gap, Kind, Login, Loss, Network, Process, Reason,
    ScorerVerdict, SensorState, Severity, Text, UnixNanos, Verdict,
};

use crate::output::Paint;
use crate::table::cut;

/// The line. Columns are padded, so that lines one below the other align.
pub(crate) fn of(event: &Event, host: &str, paint: Paint) -> String {
    let host = cut(&Text::from(host), HOST);
    let head = format!(
        "{}  {host:<HOST$}  {:<14}  {:<WHO$}  {}",
        paint.faint(&moment(event.time)),
        event.kind.name(),
        who(event),
        what(event),
    );
    let verdicts: Vec<String> = event
        .verdicts
        .iter()
        .filter_map(|verdict| judged(verdict, paint))
        .collect();
    let line = [vec![head.trim_end().to_owned()], verdicts].concat();
    line.join("  ")
}

/// UTC to the millisecond.
pub(crate) fn moment(time: UnixNanos) -> String {
    let exact = time.to_string();
    match exact.get(..23) {
        Some(start) if exact.ends_with('Z') => format!("{start}Z"),
        _ => exact,
    }
}

/// `root curl[4242]`.
pub(crate) fn actor(process: &Process) -> String {
    let name = match process.exe.basename() {
        [] => process.comm.clone(),
        base => Text::from(base),
    };
    let name = if name.is_empty() {
        "?".to_owned()
    } else {
        cut(&name, 24)
    };
    match user_of(process) {
        Some(user) => format!("{user} {name}[{}]", process.pid),
        None => format!("{name}[{}]", process.pid),
    }
}

/// The arguments as one would type them, or the executable where none are known.
pub(crate) fn command_line(process: &Process) -> String {
    if process.argv.is_empty() {
        return cut(&process.exe, LONGEST);
    }
    let words: Vec<String> = process.argv.iter().map(quoted).collect();
    let line = cut(&Text::from(words.join(" ")), LONGEST);
    if process.argv_truncated {
        return format!("{line} …");
    }
    line
}

/// Verdicts that people should see; a score below its threshold is left to `--json`.
pub(crate) fn judged(verdict: &Verdict, paint: Paint) -> Option<String> {
    let severity = verdict.severity();
    match verdict {
        Verdict::Rule(rule) => {
            let title = cut(&Text::from(rule.title.as_str()), LONGEST);
            let techniques = match rule.attack.as_slice() {
                [] => String::new(),
                attack => format!(" ({})", cut(&Text::from(attack.join(" ")), LONGEST)),
            };
            let text = format!("[{}] {title}{techniques}", severity.name());
            Some(paint.severity(severity, &text))
        }
        Verdict::Scorer(score) => score
            .alert
            .then(|| paint.severity(Severity::Medium, &explained(score))),
    }
}

fn explained(score: &ScorerVerdict) -> String {
    let bits = score.bits;
    match score.reasons.first() {
        Some(reason) => format!("[score {bits:.1} bits] {}", because(reason)),
        None => format!("[score {bits:.1} bits]"),
    }
}

fn because(reason: &Reason) -> String {
    format!(
        "{} {} in {}: seen {} of {} times",
        cut(&Text::from(&*reason.factor), 64),
        cut(&reason.value, 64),
        cut(&reason.context, 64),
        reason.seen,
        reason.context_seen,
    )
}

fn who(event: &Event) -> String {
    event.process.as_ref().map_or_else(|| "-".to_owned(), actor)
}

fn user_of(process: &Process) -> Option<String> {
    let user = process.user.as_ref()?;
    if user.name.is_empty() {
        return Some(user.uid.to_string());
    }
    Some(cut(&user.name, 16))
}

fn quoted(argument: &Text) -> String {
    let text = argument.lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,~".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn what(event: &Event) -> String {
    match (&event.detail, &event.process) {
        (Some(detail), _) => of_detail(detail),
        (None, Some(process)) if event.kind == Kind::Exec || event.kind == Kind::ExecFailed => {
            command_line(process)
        }
        _ => String::new(),
    }
}

fn of_detail(detail: &Detail) -> String {
    match detail {
        Detail::File(file) => of_file(file),
        Detail::Exit(exit) => of_exit(exit),
        Detail::Network(network) => of_network(network),
        Detail::Login(login) => of_login(login),
        Detail::Loss(loss) => of_loss(loss),
        Detail::Containment(receipt) => of_containment(receipt),
        Detail::Sensor(sensor) => of_sensor(sensor),
        Detail::Fork(fork) => format!("child {} ({})", fork.child_pid, fork.child_uid),
        Detail::Gap(gap) => of_gap(gap),
        Detail::Memfd(memfd) => format!("memfd `{}`", cut(&memfd.name, LONGEST)),
        other => cut(&Text::from(other.kernel_words()), LONGEST),
    }
}

fn of_file(file: &File) -> String {
    let path = cut(&file.path, LONGEST);
    let secret = if file.sensitive { " (secret)" } else { "" };
    if file.new_path.is_empty() {
        return format!("{path}{secret}");
    }
    format!("{path} -> {}{secret}", cut(&file.new_path, LONGEST))
}

/// How a process ended.
pub(crate) fn of_exit(exit: &Exit) -> String {
    let how = match (exit.code, exit.signal) {
        (_, Some(signal)) => format!("signal {signal}"),
        (Some(code), None) => format!("code {code}"),
        (None, None) => "ended".to_owned(),
    };
    match exit.duration_ns {
        Some(ns) => format!(
            "{how} after {}",
            crate::when::spoken(std::time::Duration::from_nanos(ns))
        ),
        None => how,
    }
}

fn of_network(network: &Network) -> String {
    let end = |ip: Option<std::net::IpAddr>, port: u32| match ip {
        Some(ip) if ip.is_ipv6() => format!("[{ip}]:{port}"),
        Some(ip) => format!("{ip}:{port}"),
        None => format!("?:{port}"),
    };
    let refused = match network.result {
        Some(errno) if errno < 0 => format!(" (error {})", errno.unsigned_abs()),
        _ => String::new(),
    };
    format!(
        "{} {} -> {}{refused}",
        word(&network.proto),
        end(network.local_ip, network.local_port),
        end(network.remote_ip, network.remote_port),
    )
}

/// Who came, from where, by what.
pub(crate) fn of_login(login: &Login) -> String {
    let user = cut(&login.user, 64);
    let named = [
        ("to", cut(&login.target_user, 64)),
        ("from", word(&login.source_ip)),
        ("via", word(&login.service)),
        ("by", word(&login.method)),
        ("on", cut(&login.tty, 64)),
        ("command", cut(&login.command, LONGEST)),
    ];
    let parts: Vec<String> = named
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!(" {name} {text}"))
        .collect();
    format!("{user}: {}{}", word(&login.outcome), parts.concat())
}

fn of_loss(loss: &Loss) -> String {
    let sum = |part: fn(&picket_event::KindCounts) -> u64| {
        loss.kinds.iter().map(part).fold(0, u64::saturating_add)
    };
    let balanced = loss.kinds.iter().all(picket_event::KindCounts::balances);
    format!(
        "generated {} filtered {} aggregated {} submitted {} lost {} {}",
        sum(|line| line.generated),
        sum(|line| line.filtered),
        sum(|line| line.aggregated),
        sum(|line| line.submitted),
        sum(|line| line.lost),
        if balanced { "BALANCED" } else { "DIFFERENCE" },
    )
}

/// A receipt: action, state, effect.
pub(crate) fn of_containment(receipt: &Containment) -> String {
    let verified = if receipt.verified { ", verified" } else { "" };
    let reason = match word(&receipt.reason) {
        reason if reason.is_empty() => reason,
        reason => format!(" {reason}"),
    };
    let effect = match word(&receipt.effect) {
        effect if effect.is_empty() => effect,
        effect => format!(": {effect}"),
    };
    format!(
        "{} {}{verified}{reason}{effect}",
        word(&receipt.action),
        receipt.state.name()
    )
}

fn of_sensor(sensor: &SensorState) -> String {
    let proved = sensor
        .hooks
        .iter()
        .filter(|hook| hook.state.name() == "proved");
    format!(
        "{} {}, {} of {} hooks proved",
        word(&sensor.backend),
        word(&sensor.change),
        proved.count(),
        sensor.hooks.len()
    )
}

fn of_gap(gap: &Gap) -> String {
    match gap.count {
        Some(count) => format!(
            "{count} events from {} on: {}",
            gap.seq_first,
            gap.reason.name()
        ),
        None => format!("unknown number of events: {}", gap.reason.name()),
    }
}

fn word(text: &str) -> String {
    cut(&Text::from(text), LONGEST)
}

/// Longest text of a host in a line, in characters.
const LONGEST: usize = 240;
const HOST: usize = 16;
const WHO: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use picket_event::{ProcessUid, RuleVerdict, Source, User};

    fn exec(argv: &[&str]) -> Event {
        let mut process = Process::new(ProcessUid::new([1; 16]), 4242);
        process.exe = Text::from("/usr/bin/curl");
        process.argv = argv.iter().map(|text| Text::from(*text)).collect();
        process.user = Some(User {
            uid: 0,
            name: Text::from("root"),
        });
        let time = UnixNanos(1_767_607_200_123_456_789);
        Event::new(Kind::Exec, time, Source::Ebpf).by(process)
    }

    #[test]
    fn an_exec_is_one_aligned_line() {
        let line = of(
            &exec(&["curl", "http://127.0.0.1/x"]),
            "web-1",
            Paint::PLAIN,
        );
        assert_eq!(
            line,
            "2026-01-05T10:00:00.123Z  web-1             exec            \
             root curl[4242]           curl http://127.0.0.1/x"
        );
    }

    #[test]
    fn hostile_arguments_stay_on_their_line() {
        let event = exec(&["sh", "-c", "\u{1b}[2Jrm\n-rf \u{202e}/", ""]);
        let line = of(&event, "evil\nhost", Paint::PLAIN);
        assert!(
            !line.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{line:?}"
        );
        assert!(
            line.ends_with("sh -c '\\u{1b}[2Jrm\\n-rf \\u{202e}/' ''"),
            "{line}"
        );
        assert!(line.contains("evil\\nhost"));
    }

    #[test]
    fn verdicts_stand_at_the_end_of_the_line() {
        let mut event = exec(&["curl"]);
        event.verdicts.push(Verdict::Rule(RuleVerdict {
            id: "id".to_owned(),
            title: "Shell of a web service\u{7}".to_owned(),
            severity: Severity::High,
            attack: vec!["T1059.004".to_owned()],
            author: String::new(),
            license: String::new(),
            rests_on: Vec::new(),
        }));
        let line = of(&event, "h", Paint::PLAIN);
        assert!(
            line.ends_with("curl  [high] Shell of a web service\\u{7} (T1059.004)"),
            "{line}"
        );
    }

    #[test]
    fn a_huge_command_line_is_cut() {
        let long = "x".repeat(100_000);
        let line = of(&exec(&["curl", &long]), "h", Paint::PLAIN);
        assert!(line.chars().count() < 400 && line.ends_with('…'));
    }
}
