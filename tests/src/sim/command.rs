//! Commands to simulated hosts: asked for and approved by two persons with the real `picketctl`, checked by each host with
//! the agent's own code, answered by signed events.
//!
//! The times are from when the last signature that was needed came to the collector, to when each host had done what it was told,
//! as its receipt says; both clocks are this machine's. A command counts only once all receipts are stored.

use std::ops::Range;
use std::time::{Duration, Instant};

use picket_event::UnixNanos;
use serde_json::Value;

use super::place_of;
use super::play::Play;
use super::tally::Spread;
use crate::failure::Failure;
use crate::wait;

/// What hosts said to some commands.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Hosts that were asked.
    pub hosts: u64,
    /// Those that said `executed`.
    pub executed: u64,
    /// From a command's approval to the receipt that a host made.
    pub spread: Spread,
    /// From the first approval to the last receipt.
    pub whole: Duration,
}

/// Hosts in one command at most.
pub(crate) const MOST_HOSTS: usize = picket_event::command::MAX_HOST_SET;

impl Play {
    /// Commands to these hosts: as many as they take, approved one after the other, all under way at once.
    pub fn command(&self, hosts: Range<usize>) -> Result<Answers, Failure> {
        let starts = hosts.clone().step_by(MOST_HOSTS);
        let parts = starts.map(|start| start..hosts.end.min(start + MOST_HOSTS));
        let mut ids = Vec::new();
        for part in parts {
            ids.push(self.ask(part, &[])?);
        }
        for id in &ids {
            self.approve(id)?;
        }
        let mut answers = Times::default();
        for id in &ids {
            answers.take(&self.done(id, hosts.len())?)?;
        }
        Ok(answers.told())
    }

    /// One command to one host, which takes one person: the time is from its request.
    pub fn command_one(&self, host: usize) -> Result<Answers, Failure> {
        let id = self.ask(host..host + 1, &[])?;
        let mut answers = Times::default();
        answers.take(&self.done(&id, 1)?)?;
        Ok(answers.told())
    }

    /// A command in rings; how long it took until the last ring was judged, and how many rings there were.
    pub fn campaign(&self, hosts: Range<usize>) -> Result<(Duration, usize), Failure> {
        let began = Instant::now();
        std::thread::scope(|scope| {
            let rings = scope.spawn(|| {
                let args = asking(&hosts, &["--rings", "--settle", "0s"]);
                self.site().ctl(&strs(&args))
            });
            let id = wait::until("a command that waits for approval", LIMIT, || {
                let all = self.site().ctl_json(&["commands"])?;
                let waiting = all.iter().find(|one| one["state"] == "requested");
                Ok(waiting
                    .and_then(|one| one["id"].as_str())
                    .map(str::to_owned))
            })?;
            self.approve(&id)?;
            let printed = rings
                .join()
                .map_err(|_panic| place_of("picketctl", "its thread broke"))??;
            let rings = printed
                .lines()
                .filter(|line| line.starts_with("ring "))
                .count();
            Ok((began.elapsed(), rings))
        })
    }

    fn ask(&self, hosts: Range<usize>, more: &[&str]) -> Result<String, Failure> {
        let args = asking(&hosts, more);
        let told = self.site().ctl_json(&strs(&args))?;
        let id = told.first().and_then(|told| told["id"].as_str());
        let id = id.map(str::to_owned);
        id.ok_or_else(|| place_of("picketctl contain", &format!("{told:?}")))
    }

    fn approve(&self, id: &str) -> Result<(), Failure> {
        let done = self.site().ctl_as(APPROVER, &["approve", id, "--yes"]);
        done.map(drop)
    }

    /// The command once every host has said its last word. Whoever looks at the answers of thousands uses the processors that are measured:
    /// the more hosts, the less often.
    fn done(&self, id: &str, hosts: usize) -> Result<Value, Failure> {
        let rest = REST.saturating_mul(u32::try_from(hosts).unwrap_or(u32::MAX));
        wait::until("the answers of all hosts", LIMIT, || {
            wait::pause(rest);
            let shown = self.site().ctl_json(&["command", "show", id])?;
            Ok(shown.into_iter().find(|one| one["state"] == "done"))
        })
    }
}

/// What is asked of so many hosts: what a real host would do at once and without a process.
fn asking(hosts: &Range<usize>, more: &[&str]) -> Vec<String> {
    let mut args: Vec<String> = ["contain", "block-hash", NOBODYS, "--reason", "measured"]
        .map(str::to_owned)
        .into();
    for host in hosts.clone() {
        args.extend(["--host".to_owned(), super::enrol::name(host)]);
    }
    args.extend(more.iter().map(|one| (*one).to_owned()));
    args
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// The times of some commands.
#[derive(Default)]
struct Times {
    answers: Answers,
    micros: Vec<u32>,
    first: Option<UnixNanos>,
    last: Option<UnixNanos>,
}

impl Times {
    fn take(&mut self, command: &Value) -> Result<(), Failure> {
        let odd = || place_of("picketctl command show", &command["id"].to_string());
        let time = |value: &Value| value.as_str().and_then(UnixNanos::parse);
        let from = time(&command["approved"]).or_else(|| time(&command["submitted"]));
        let from = from.ok_or_else(odd)?;
        self.first = Some(self.first.map_or(from, |first| first.min(from)));
        for host in command["hosts"].as_array().ok_or_else(odd)? {
            let at = time(&host["time"]).ok_or_else(odd)?;
            self.last = self.last.max(Some(at));
            let micros = at.since(from).as_micros();
            self.micros.push(u32::try_from(micros).unwrap_or(u32::MAX));
            self.answers.hosts += 1;
            self.answers.executed += u64::from(host["receipt"]["state"] == "executed");
        }
        Ok(())
    }

    fn told(self) -> Answers {
        let whole = self.first.zip(self.last);
        Answers {
            spread: Spread::of(self.micros),
            whole: whole.map_or(Duration::ZERO, |(first, last)| last.since(first)),
            ..self.answers
        }
    }
}

/// The operator who approves.
pub(super) const APPROVER: &str = "bob";
/// A content that nobody has.
const NOBODYS: &str = "00000000000000000000000000000000000000000000000000000000000000ff";
const LIMIT: Duration = Duration::from_mins(2);
/// For each host of the command.
const REST: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_from_the_approval_and_only_what_was_executed_counts() {
        let at = |second: u32| format!("2026-01-05T10:00:{second:02}Z");
        let host = |second, state| json!({"time": at(second), "receipt": {"state": state}});
        let first = json!({"id": "a", "submitted": at(0), "approved": at(10),
            "hosts": [host(11, "executed"), host(12, "refused")]});
        let second = json!({"id": "b", "submitted": at(20), "approved": null, "hosts": [host(23, "executed")]});
        let mut times = Times::default();
        times.take(&first).unwrap();
        times.take(&second).unwrap();
        let told = times.told();
        assert_eq!((told.hosts, told.executed), (3, 2));
        assert_eq!((told.spread.p50_ms, told.spread.max_ms), (2_000.0, 3_000.0));
        assert_eq!(told.whole, Duration::from_secs(13));
    }
}
