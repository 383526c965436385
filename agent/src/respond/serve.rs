//! The thread that answers commands, ends what time ends, and says what is in force.

use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::Duration;

use picket_event::Containment;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::effects::{Effect, Effects, InForce};
use super::isolate::socket::Typed;
use super::policy::Decision;
use super::{Asked, Responder};
use crate::failure::{Code, Failure};
use crate::health::SharedHealth;
use crate::pipeline::{Input, alarm};

/// The longest sleep: what is in force is looked after at least so often.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// The longest while a file is under way.
const SENDING_SLEEP: Duration = Duration::from_millis(250);
/// The longest while the host is isolated: repairs are told so soon.
const ISOLATED_SLEEP: Duration = Duration::from_secs(1);
/// The shortest: an effect that cannot be undone is not tried without pause.
const SHORTEST_SLEEP: Duration = Duration::from_millis(50);

impl Responder {
    /// Answers commands, one after the other, until nobody can send any.
    pub(crate) fn serve(
        mut self,
        mut calls: Calls,
        inputs: SyncSender<Input>,
        health: SharedHealth,
    ) -> Result<JoinHandle<()>, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| Failure::new(Code::Failed, &error))?;
        let (alarmed, path) = (inputs.clone(), inputs.clone());
        let tell = move |answers: Vec<Containment>| {
            answers.into_iter().all(|answer| {
                note(&answer);
                inputs.send(Input::Outcome(Box::new(answer))).is_ok()
            })
        };
        let work = move || {
            let mut listened = tell(self.resume()) && tell(self.take_replacement());
            while listened {
                self.show(&health);
                let sleep = self.sleep();
                listened = match runtime.block_on(calls.next(sleep)) {
                    Next::Ended => return,
                    Next::Asked(Asked::TrustRoot(signed)) => tell(self.take_trust(&signed)),
                    Next::Asked(Asked::Command(signed, start)) => {
                        let answers = self.answer(&signed, start.as_ref());
                        if answers.is_empty() {
                            health.status().refused("untold");
                        }
                        tell(answers)
                    }
                    Next::Asked(Asked::Content(signed)) => tell(self.take_content(&signed, &path)),
                    Next::Due(decision) => tell(self.decide(*decision)),
                    Next::Typed(Typed::Code(code, answer)) => {
                        let (outcome, answers) = self.use_code(&code);
                        if answer.try_send(outcome).is_err() {
                            tracing::debug!("whoever typed a code is gone");
                        }
                        tell(answers)
                    }
                    Next::Typed(Typed::Removal(tells, answer)) => {
                        let (removal, answers) = self.removal_asked(tells);
                        // Before the answer: whoever asked may stop the agent next.
                        let listened = tell(answers);
                        if answer.try_send(removal).is_err() {
                            tracing::debug!("whoever asked about the package is gone");
                        }
                        listened
                    }
                    Next::Nothing => true,
                } && tell(self.tick())
                    && tell(self.isolation_news())
                    && tell(self.take_replacement())
                    && self.start_anew(&path);
            }
        };
        alarm::spawn("respond", alarmed, work)
    }

    /// How long nothing ends by itself.
    fn sleep(&self) -> Duration {
        let next = match &self.effects {
            Ok(effects) => effects.next_end(self.clock.now()),
            Err(_) => None,
        };
        let shortest = if self.stuck.is_empty() {
            SHORTEST_SLEEP
        } else {
            LONGEST_SLEEP
        };
        let longest = if self.sending {
            SENDING_SLEEP
        } else if self.isolation.is_in_force() {
            ISOLATED_SLEEP
        } else {
            LONGEST_SLEEP
        };
        next.unwrap_or(longest)
            .clamp(shortest.min(longest), longest)
    }

    fn show(&self, health: &SharedHealth) {
        let (in_force, policy) = (self.in_force(), self.policy_status());
        let mut status = health.status();
        status.containment = in_force;
        let trust = &self.believer.trust;
        status.trust_root = Some((trust.version, trust.expires));
        status.policy = policy;
        status.content = self.contents.used();
    }

    fn in_force(&self) -> Vec<Value> {
        let effects = self.effects.as_ref();
        let all = effects.map_or(&[][..], Effects::all);
        all.iter().map(|one| self.in_words(one)).collect()
    }

    /// With how many files the kernel refuses for it, where it refuses any.
    fn in_words(&self, one: &InForce) -> Value {
        let mut words = one.to_json();
        if let Effect::Blocked(blocked) = &one.effect
            && let Some(count) = blocked.refused_files(&self.blocklist)
        {
            words["refused_files"] = json!(count);
        }
        words
    }
}

/// Who may want something of the responder.
#[derive(Debug)]
pub(crate) struct Calls {
    /// The collector, for those who sign.
    pub(crate) asked: mpsc::Receiver<Asked>,
    /// Whoever types a code on this host.
    pub(crate) codes: Option<mpsc::Receiver<Typed>>,
    /// The path, by the policy.
    pub(crate) due: mpsc::Receiver<Decision>,
}

/// What woke the thread.
enum Next {
    Asked(Asked),
    Typed(Typed),
    Due(Box<Decision>),
    Nothing,
    Ended,
}

impl Calls {
    async fn next(&mut self, sleep: Duration) -> Next {
        tokio::select! {
            signed = self.asked.recv() => signed.map_or(Next::Ended, Next::Asked),
            typed = code(&mut self.codes) => Next::Typed(typed),
            Some(decision) = self.due.recv() => Next::Due(Box::new(decision)),
            () = tokio::time::sleep(sleep) => Next::Nothing,
        }
    }
}

/// The next code; never, once nobody can type any.
async fn code(codes: &mut Option<mpsc::Receiver<Typed>>) -> Typed {
    if let Some(open) = codes {
        if let Some(typed) = open.recv().await {
            return typed;
        }
        *codes = None;
    }
    std::future::pending().await
}

fn note(answer: &Containment) {
    let (action, state, reason) = (&answer.action, answer.state.name(), &answer.reason);
    tracing::info!(command = %answer.command_id, action, state, reason, "command answered");
}
