//! `replay`: recorded events through enrich and detect, each printed with its verdicts.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use picket_event::{BootId, Event, Origin, json};
use picket_scorer::{Scorer, Settings};

use super::ReplayArgs;
use super::form::Form;
use super::output::{Output, Reader};
use crate::config::DEFAULT_RULES;
use crate::detect::{Detector, RulesFrom, load_rules, scorer_settings};
use crate::failure::{Code, Failure};
use crate::health;

/// The longest line that is an event.
const MAX_LINE: u64 = 16 << 20;
/// In `--scorer-state DIR`.
const SECRET: &str = "scorer.secret";
const SNAPSHOT: &str = "scorer.snapshot";

/// Replays the files in order.
pub(super) fn replay(arguments: &ReplayArgs) -> Result<(), Failure> {
    health::log_to_stderr("warn");
    let from = match &arguments.rules {
        Some(directory) => RulesFrom::Only(directory),
        None => RulesFrom::Pack(Path::new(DEFAULT_RULES)),
    };
    let scorer = scorer(arguments.scorer_state.as_deref())?;
    let mut detector = Detector::new(load_rules(from, &[])?, scorer);
    let mut out = Output::new();
    let form = Form::new(arguments.json, arguments.ocsf);
    for file in &arguments.files {
        if replay_file(file, &mut detector, &mut out, &form)? == Reader::Gone {
            return Ok(());
        }
    }
    if let Some(directory) = &arguments.scorer_state {
        crate::state::write(&directory.join(SNAPSHOT), &detector.snapshot())?;
    }
    out.flush().map(drop)
}

fn replay_file(
    path: &Path,
    detector: &mut Detector,
    out: &mut Output,
    form: &Form,
) -> Result<Reader, Failure> {
    let failed = |source| {
        Failure::new(
            Code::Failed,
            &ReadError {
                path: path.to_owned(),
                source,
            },
        )
    };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut text = String::new();
    for number in 1_u64.. {
        text.clear();
        let mut line = file.by_ref().take(MAX_LINE);
        if line.read_line(&mut text).map_err(failed)? == 0 {
            break;
        }
        if text.trim().is_empty() {
            continue;
        }
        let (mut event, origin) = parse(path, number, &text)?;
        event.verdicts.clear();
        let now = event.time;
        detector.judge(now, &mut event);
        if out.line(&form.line(&event, &origin))? == Reader::Gone {
            return Ok(Reader::Gone);
        }
    }
    Ok(Reader::There)
}

fn parse(path: &Path, number: u64, text: &str) -> Result<(Event, Origin), Failure> {
    let line = json::from_str(text).map_err(|error| refuse(path, number, text, &error))?;
    let boot = line.boot.unwrap_or(BootId::new([0; 16]));
    Ok((
        line.event,
        Origin {
            host: line.host,
            boot,
        },
    ))
}

/// Names the format where it is one that later versions read.
fn refuse(path: &Path, number: u64, text: &str, error: &json::JsonError) -> Failure {
    let other = foreign_format(text);
    let reason = match other {
        Some(name) => format!("{name} cannot be replayed in this version"),
        None => crate::failure::chain(error),
    };
    let code = if other.is_some() {
        Code::Refused
    } else {
        Code::Failed
    };
    Failure::line(
        code,
        format!(
            "failed to replay `{}` line {number}: {reason}",
            path.display()
        ),
    )
    .hint("picket-agent replay reads JSON lines, as `picket-agent watch --json` prints them")
}

fn foreign_format(text: &str) -> Option<&'static str> {
    let text = text.trim_start();
    if text.starts_with("type=") || text.starts_with("node=") {
        return Some("an auditd log");
    }
    if text.starts_with('<') || text.contains("Linux-Sysmon") {
        return Some("Sysmon for Linux XML");
    }
    (text.contains("sshd[") || text.contains("sudo:")).then_some("an authentication log")
}

/// A scorer that goes on from what was learned in the directory, if one is given.
fn scorer(directory: Option<&Path>) -> Result<Scorer, Failure> {
    let Some(directory) = directory else {
        return Ok(Scorer::new(fresh()?));
    };
    std::fs::create_dir_all(directory).map_err(|source| {
        Failure::new(
            Code::Failed,
            &ReadError {
                path: directory.to_owned(),
                source,
            },
        )
    })?;
    let secret = directory.join(SECRET);
    let settings = if let Some(bytes) = crate::state::read(&secret)? {
        let bytes: [u8; 16] = bytes.try_into().map_err(|_wrong: Vec<u8>| {
            Failure::line(
                Code::Failed,
                format!("`{}` has not 16 bytes", secret.display()),
            )
        })?;
        scorer_settings(bytes, None)
    } else {
        let settings = fresh()?;
        crate::state::write(&secret, &settings.host_secret)?;
        settings
    };
    let Some(snapshot) = crate::state::read(&directory.join(SNAPSHOT))? else {
        return Ok(Scorer::new(settings));
    };
    Scorer::restore(settings, &snapshot).map_err(|error| Failure::new(Code::Failed, &error))
}

fn fresh() -> Result<Settings, Failure> {
    let secret = picket_seal::random().map_err(|error| Failure::new(Code::Failed, &error))?;
    Ok(scorer_settings(secret, None))
}

#[derive(Debug, thiserror::Error)]
#[error("failed to read `{}`", path.display())]
struct ReadError {
    path: std::path::PathBuf,
    source: std::io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_later_versions_are_refused_by_name() {
        let audit = "type=EXECVE msg=audit(1.2:3): argc=1 a0=\"ls\"";
        let failure = parse(Path::new("x"), 4, audit).unwrap_err();
        assert_eq!(failure.code, Code::Refused);
        assert!(
            failure.line.contains("line 4: an auditd log"),
            "{}",
            failure.line
        );
        let auth = "Jan  5 10:00:00 h sshd[1]: Accepted password for a";
        assert!(
            parse(Path::new("x"), 1, auth)
                .unwrap_err()
                .line
                .contains("authentication log")
        );
        let sysmon = "<Event><System/></Event>";
        assert!(
            parse(Path::new("x"), 1, sysmon)
                .unwrap_err()
                .line
                .contains("Sysmon")
        );
        let broken = parse(Path::new("x"), 1, "{\"kind\":1}").unwrap_err();
        assert_eq!(broken.code, Code::Failed);
    }
}
