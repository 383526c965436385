//! `release` and `containment`: what is done about an isolation on the host itself.

use super::output::Output;
use super::{ContainmentArgs, ReleaseArgs};
use crate::failure::{Code, Failure};
use crate::health::{self, say};
use crate::respond::isolate::code::{Use, use_directly};
use crate::respond::isolate::{boot, socket};
use crate::state;

/// Ends the isolation whose code this is: the running agent does it, or this process if none runs.
pub(super) fn release(arguments: &ReleaseArgs) -> Result<(), Failure> {
    state::check_owner(&arguments.state)?;
    let said = socket::say(&arguments.state, &arguments.code);
    let said = said.map_err(|error| {
        Failure::line(Code::Failed, format!("the agent did not answer: {error}"))
            .hint("run as root; journalctl -u picket-agent")
    })?;
    let outcome = if let Some(outcome) = said {
        outcome
    } else {
        let outcome = use_directly(&arguments.state, &arguments.code)?;
        socket::wait(outcome.delay());
        outcome
    };
    let text = match outcome {
        Use::Released => "released: the host reaches and is reached as before",
        Use::Another => "ended, but another isolation is in force and has another code",
        Use::Wrong(count) => {
            let text = format!("no isolation of this host has this code ({count} wrong so far)");
            return Err(Failure::line(Code::Refused, text).hint(
                "the operator who isolated the host was shown the code, if they asked for one",
            ));
        }
        Use::NotIsolated => return Err(Failure::line(Code::Failed, "this host is not isolated")),
        Use::Failed => {
            let text = "the code is right, and the rules could not be removed";
            return Err(
                Failure::line(Code::Failed, text).hint("nft delete table inet picket_isolation")
            );
        }
    };
    let mut out = Output::new();
    out.line(text)?;
    out.flush().map(drop)
}

/// Before the network: puts in force again what is.
pub(super) fn containment(arguments: &ContainmentArgs) -> Result<(), Failure> {
    health::log_to_stderr("info");
    if arguments.apply_boot && boot::apply(&arguments.state)? {
        say("this host is isolated");
    }
    Ok(())
}
