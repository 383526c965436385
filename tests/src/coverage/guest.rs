//! In the machine: starts the agent as a user would, then does what the host orders over a virtio port: leave it alone, or run a test.
//!
//! What stays true: every answer is one line; events are passed on as the agent wrote them, with the time at which they were read.

mod agent;
mod play;
mod port;

use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::list::Test;
use super::record::{Played, Variant};
use crate::failure::Failure;
use crate::programs::finish;
use crate::wait;
use agent::Agent;
use port::Port;

/// What the host asks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(super) enum Order {
    /// Nothing happens for so long.
    Idle {
        /// How long, in seconds.
        seconds: u64,
    },
    /// A test is run.
    Play(Box<Play>),
}

/// A test, and how it is to be run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Play {
    /// The test.
    pub(super) test: Test,
    /// How.
    pub(super) variant: Variant,
    /// How many times longer than on an ordinary machine it may take.
    pub(super) patience: f64,
    /// For the new names.
    pub(super) seed: u64,
    /// Events without a judgement that are passed on at most.
    pub(super) most_events: u64,
}

/// The machine and what runs in it, for the conditions of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Hello {
    /// The kernel's release.
    pub(super) kernel: String,
    /// What the agent says that it is.
    pub(super) agent: String,
    /// What it said on the side when it began.
    pub(super) said: String,
    /// By which source it told its first event.
    pub(super) source: String,
}

/// Serves the host until the machine ends.
pub fn serve() -> Result<(), Failure> {
    let mut port = Port::open()?;
    await_boot()?;
    let mut agent = Agent::start(port.writer())?;
    port.say("hello", &agent.hello()?)?;
    loop {
        let order: Order = port.next()?;
        let played = match order {
            Order::Idle { seconds } => idle(&mut agent, seconds),
            Order::Play(play) => play::run(&mut agent, &mut port, &play)?,
        };
        port.say("result", &played)?;
    }
}

/// Until everything that starts with the machine has started; what failed to start is no matter.
fn await_boot() -> Result<(), Failure> {
    let mut command = Command::new("systemctl");
    command.args(["is-system-running", "--wait"]);
    finish("systemctl", command).map(drop)
}

fn idle(agent: &mut Agent, seconds: u64) -> Played {
    agent.pass_on(MOST_EVENTS);
    let began = agent.now();
    wait::pause(Duration::from_secs(seconds));
    let settled = agent.settle();
    Played {
        began,
        ended: agent.now(),
        settled,
        agent_ended: agent.ended(),
        ..Played::default()
    }
}

/// The ordinary user of the guest.
pub(super) const USER: &str = "alex";
/// The user's number.
pub(super) const USER_ID: u32 = 1000;
/// Where files that come with the tests lie, in the guest.
pub(super) const FILES: &str = "/opt/files";
/// Events without a judgement that are passed on in one step, unless all are asked for.
pub(super) const MOST_EVENTS: u64 = 20_000;
/// The port to the host, by the name that QEMU gives it.
pub(super) const PORT: &str = "coverage.0";
