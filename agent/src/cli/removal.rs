//! `removal`: whether the package may be removed from this host, for people and for the package's own script.
//!
//! What stays true: exit code 3 is said only where the package is to stay; whatever else goes wrong keeps nobody from removing a
//! broken package.

use super::RemovalArgs;
use super::output::Output;
use crate::failure::{Code, Failure};
use crate::health;
use crate::respond::removal::{Removal, ask};

/// Asks and says.
pub(super) fn removal(arguments: &RemovalArgs) -> Result<(), Failure> {
    health::log_to_stderr("warn");
    let removal = ask(
        &arguments.state,
        arguments.config.as_deref(),
        arguments.tell,
    )?;
    let text = match removal {
        Removal::Unprotected(why) => format!("the package may be removed: {why}"),
        Removal::Allowed(who) => format!("the package may be removed: {who}"),
        Removal::Refused(why) => {
            let line = format!("the package stays: {why}");
            return Err(Failure::line(Code::Refused, line).hint(
                "an operator: picketctl contain allow-removal HOST --for 1h --reason '...'",
            ));
        }
    };
    let mut out = Output::new();
    out.line(&picket_event::Text::from(text).for_terminal())?;
    out.flush().map(drop)
}
