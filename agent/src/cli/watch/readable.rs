//! One event as one line for people: time, kind, who, what, and what was judged about it.
//!
//! What stays true: host text moves no cursor, and a line is one line.

use picket_event::{Detail, Event, Process, Severity, Text, Verdict};

use crate::cli::output::Paint;

/// The line.
pub(crate) fn line(event: &Event, paint: Paint) -> String {
    let time = event.time.to_string();
    let clock = time.get(11..23).unwrap_or(&time);
    let mut text = format!("{clock} {:<12}", event.kind.name());
    if let Some(process) = &event.process {
        push(&mut text, &who(process));
    }
    if let Some(detail) = &event.detail {
        push(&mut text, &what(detail));
    }
    for verdict in &event.verdicts {
        push(&mut text, &judged(verdict, paint));
    }
    text
}

/// The environment of the process, to stand behind the line; nothing if none is known.
pub(crate) fn environment(event: &Event) -> String {
    let vars = event.process.iter().flat_map(|process| &process.env);
    vars.fold(String::new(), |mut text, var| {
        push(&mut text, &format!("{}={}", var.name, quoted(&var.value)));
        text
    })
}

/// With spaces it stands in quotes, so that one sees where it ends.
fn quoted(value: &Text) -> String {
    let text = value.for_terminal();
    if text.is_empty() || text.contains([' ', '\'']) {
        format!("'{}'", text.replace('\'', "'\\''"))
    } else {
        text
    }
}

fn push(text: &mut String, part: &str) {
    if !part.is_empty() {
        text.push(' ');
        text.push_str(part);
    }
}

fn who(process: &Process) -> String {
    let user = process.user.as_ref().map(|user| {
        if user.name.is_empty() {
            user.uid.to_string()
        } else {
            user.name.for_terminal()
        }
    });
    let mut text = format!("{} {}", process.pid, user.unwrap_or_else(|| "?".to_owned()));
    if process.argv.is_empty() {
        push(&mut text, &process.exe.for_terminal());
    } else {
        push(&mut text, &process.exe.for_terminal());
        let arguments = Text::from(process.command_line());
        push(&mut text, &format!("[{}]", arguments.for_terminal()));
    }
    text
}

fn what(detail: &Detail) -> String {
    match detail {
        Detail::File(file) if file.new_path.is_empty() => file.path.for_terminal(),
        Detail::File(file) => format!("{} -> {}", file.path, file.new_path),
        Detail::Exit(exit) => match (exit.code, exit.signal) {
            (_, Some(signal)) => format!("signal {signal}"),
            (Some(code), None) => format!("code {code}"),
            (None, None) => String::new(),
        },
        Detail::Network(network) => {
            let ip = network
                .remote_ip
                .map(|ip| ip.to_string())
                .unwrap_or_default();
            format!("{} {ip} port {}", network.proto, network.remote_port)
        }
        Detail::Login(login) => login_line(login),
        Detail::Loss(loss) => {
            let lost: u64 = loss
                .kinds
                .iter()
                .map(|line| line.lost)
                .fold(0, u64::saturating_add);
            let given = loss
                .kinds
                .iter()
                .map(|line| line.submitted)
                .fold(0, u64::saturating_add);
            format!("{given} events, {lost} lost")
        }
        Detail::Fork(fork) => format!("child {}", fork.child_pid),
        Detail::Memfd(memfd) => memfd.name.for_terminal(),
        Detail::Sensor(sensor) => format!("{} {}", sensor.backend, sensor.change),
        Detail::Containment(done) => format!("{} {}: {}", done.action, done.state, done.effect),
        Detail::Gap(gap) => format!("{} numbers missing", gap.count.unwrap_or(0)),
        other => other.kernel_words(),
    }
}

fn login_line(login: &picket_event::Login) -> String {
    let mut text = format!("{} {}", login.user, login.outcome);
    for (word, value) in [("by", &login.service), ("from", &login.source_ip)] {
        if !value.is_empty() {
            push(&mut text, word);
            push(&mut text, &Text::from(value.as_str()).for_terminal());
        }
    }
    text
}

fn judged(verdict: &Verdict, paint: Paint) -> String {
    match verdict {
        Verdict::Rule(rule) => {
            let words = format!("!! {} ({})", rule.title, rule.severity);
            paint.severity(rule.severity, &words)
        }
        Verdict::Scorer(score) if score.alert => {
            let reason = score
                .reasons
                .first()
                .map(picket_scorer::sentence)
                .unwrap_or_default();
            let words = format!("!! unusual, {:.1} bits: {reason}", score.bits);
            paint.severity(Severity::Medium, &words)
        }
        Verdict::Scorer(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use picket_event::{EnvVar, File, Kind, ProcessUid, Source, UnixNanos};

    use super::*;

    #[test]
    fn host_text_moves_no_cursor() {
        let mut process = Process::new(ProcessUid::new([0; 16]), 7);
        process.exe = Text::from("/bin/\u{1b}[2J");
        process.argv = vec![Text::from("a\nb")];
        let file = File {
            path: Text::from("/tmp/\r\u{202e}x"),
            ..File::default()
        };
        let event = Event::new(Kind::FileOpen, UnixNanos(0), Source::Ebpf)
            .by(process)
            .with(Detail::File(file));
        let line = line(&event, Paint::PLAIN);
        assert!(
            !line.chars().any(char::is_control) && !line.contains('\u{202e}'),
            "{line}"
        );
        assert!(line.starts_with("00:00:00.000 file_open"));
    }

    #[test]
    fn the_environment_stands_behind_the_line_and_moves_no_cursor() {
        let var = |name: &str, value: &str| EnvVar {
            name: Text::from(name),
            value: Text::from(value),
        };
        let mut process = Process::new(ProcessUid::new([0; 16]), 7);
        process.env = vec![
            var("A", "b"),
            var("C", "it's d"),
            var("E", "\n"),
            var("F", ""),
        ];
        let event = Event::new(Kind::Exec, UnixNanos(0), Source::Ebpf).by(process);
        assert_eq!(environment(&event), r" A=b C='it'\''s d' E=\n F=''");
    }
}
