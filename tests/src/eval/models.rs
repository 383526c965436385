//! The three models of `picket-scorer`, each on its format.

use std::path::Path;
use std::str;
use std::time::Duration;

use picket_event::UnixNanos;
use picket_scorer::{Access, AccessModel, CommandModel, SequenceModel, class_of_i386};

use super::EvalError;
use super::file::{class, lines, refuse};
use super::judge::{Judged, Samples};

mod csv;

pub(super) use csv::Login;
use csv::Logins;

/// Traces of 32-bit x86, as ADFA-LD has them; the model does not learn during the test.
pub(super) fn sequence(train: &Path, test: &Path) -> Result<Samples, EvalError> {
    let (normal, left_out) = traces(train)?
        .into_iter()
        .partition::<Vec<_>, _>(|t| t.0.is_none());
    some(train, "normal trace", normal.len())?;
    let learned: Vec<Vec<u16>> = normal.into_iter().map(|(_, calls)| calls).collect();
    let model = SequenceModel::learn(SECRET, class_of_i386, &learned);
    let tested = traces(test)?;
    let events = tested.iter().map(|(_, calls)| calls.len()).sum();
    let mut samples = Samples::new(learned.len(), left_out.len(), model.state_bytes());
    let began = processor_time();
    for (class, calls) in tested {
        let score = model.score(&calls);
        samples.judged.push(Judged {
            class,
            score: score.score,
            rarity: score.rarity,
        });
    }
    samples.took(processor_time().saturating_sub(began), events);
    Ok(samples)
}

/// Command lines; the model does not learn during the test.
pub(super) fn command(train: &Path, test: &Path) -> Result<Samples, EvalError> {
    let (normal, left_out) = commands(train)?
        .into_iter()
        .partition::<Vec<_>, _>(|c| c.0.is_none());
    some(train, "normal command", normal.len())?;
    let model = CommandModel::learn(SECRET, normal.iter().map(|(_, command)| command.as_slice()));
    let tested = commands(test)?;
    let mut samples = Samples::new(normal.len(), left_out.len(), model.state_bytes());
    let events = tested.len();
    let began = processor_time();
    for (class, command) in tested {
        let score = model.score(&command);
        samples.judged.push(Judged {
            class,
            score: score.score,
            rarity: score.rarity,
        });
    }
    samples.took(processor_time().saturating_sub(began), events);
    Ok(samples)
}

/// Logins in the order of time; the model goes on learning, from attacks too.
pub(super) fn login(train: &Path, test: &Path) -> Result<Samples, EvalError> {
    let mut model = AccessModel::new(SECRET);
    let (mut learned, mut left_out) = (0, 0);
    logins(train, |_, login| {
        if login.class.is_some() {
            left_out += 1;
        } else {
            model.step(UnixNanos(login.at), &login.access());
            learned += 1;
        }
    })?;
    some(train, "normal login", learned)?;
    let mut tested = Vec::new();
    logins(test, |line, login| tested.push((line, login)))?;
    let mut samples = Samples::new(learned, left_out, model.state_bytes());
    let events = tested.len();
    let began = processor_time();
    for (_, login) in tested {
        let score = model.step(UnixNanos(login.at), &login.access());
        samples.judged.push(Judged {
            class: login.class,
            score: score.bits,
            rarity: score.rarity,
        });
    }
    samples.took(processor_time().saturating_sub(began), events);
    Ok(samples)
}

/// Time that this thread has used of a processor: others on the machine do not count.
pub(super) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

pub(super) fn some(path: &Path, what: &'static str, number: usize) -> Result<(), EvalError> {
    if number > 0 {
        return Ok(());
    }
    Err(EvalError::Nothing {
        path: path.to_path_buf(),
        what,
    })
}

pub(super) type Labelled<T> = (Option<String>, T);

/// The label stands first, the calls last; what is between is not looked at.
fn traces(path: &Path) -> Result<Vec<Labelled<Vec<u16>>>, EvalError> {
    let mut traces = Vec::new();
    lines(path, |number, line| {
        let text = str::from_utf8(line).map_err(|error| refuse(path, number, error.to_string()))?;
        let (label, rest) = text
            .split_once('\t')
            .ok_or_else(|| refuse(path, number, NO_TAB))?;
        let calls = rest.rsplit('\t').next().unwrap_or(rest);
        let calls = calls.split([' ', ',']).filter(|call| !call.is_empty());
        let numbers = calls.map(|call| {
            let wrong = |error| format!("`{}` is no number of a call: {error}", cut(call));
            call.parse().map_err(wrong)
        });
        let numbers: Result<Vec<u16>, String> = numbers.collect();
        let numbers = numbers.map_err(|why| refuse(path, number, why))?;
        traces.push((class(label), numbers));
        Ok(())
    })?;
    Ok(traces)
}

pub(super) fn commands(path: &Path) -> Result<Vec<Labelled<Vec<u8>>>, EvalError> {
    let mut commands = Vec::new();
    lines(path, |number, line| {
        let tab = line.iter().position(|byte| *byte == b'\t');
        let tab = tab.ok_or_else(|| refuse(path, number, NO_TAB))?;
        let label = String::from_utf8_lossy(&line[..tab]);
        commands.push((class(&label), line[tab + 1..].to_vec()));
        Ok(())
    })?;
    Ok(commands)
}

pub(super) fn logins(path: &Path, mut each: impl FnMut(usize, Login)) -> Result<(), EvalError> {
    let mut reader: Option<Logins> = None;
    lines(path, |number, line| {
        let text = String::from_utf8_lossy(line);
        match &reader {
            None => reader = Some(Logins::of(&text).map_err(|why| refuse(path, number, why))?),
            Some(logins) => {
                each(
                    number,
                    logins
                        .read(&text)
                        .map_err(|why| refuse(path, number, why))?,
                );
            }
        }
        Ok(())
    })
}

/// At most so much of a wrong word as a line of an error can hold.
fn cut(word: &str) -> String {
    word.chars().take(40).collect()
}

impl Login {
    fn access(&self) -> Access<'_> {
        Access {
            user: self.user.as_bytes(),
            account: self.account.as_bytes(),
            source: self.source.as_bytes(),
            destination: self.destination.as_bytes(),
            kind: self.kind.as_bytes(),
            hour: self.hour,
        }
    }
}

const NO_TAB: &str = "expected a label, a tab and more";
/// Keys the tables. Any value gives the same figures but for strings that meet.
pub(super) const SECRET: [u8; 16] = *b"picket-eval key.";
