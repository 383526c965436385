//! Real people at real programs, and whether each was told of once: `make test-logins`.
//!
//! ```text
//! plan --> play (ssh, sudo, su, login, cron) --> sshd, PAM, logs, records
//!                                                     |
//!                          judge <-- ears (the agent; a follower per source)
//! ```
//!
//! # Invariants
//!
//! - It runs in the ground that `tests/logins/ground.sh` lays: accounts, logs and network are its own.
//! - With `audit` the host's audit system, if nobody uses it, is taken into use for the play and given back; the network is then the host's
//!   loopback, since the kernel hands audit records to listeners of the first network alone.
//! - Meanwhile the journal moves from memory to disk, and it and the authentication log are rotated.
//! - Every session has a user of its own, so each event belongs to one session or was invented.
//! - A process that is left at the end is a descendant of this program, and is killed by number.

mod ears;
mod ground;
mod judge;
mod nameless;
mod plan;
mod play;
mod reaper;

use std::path::Path;
use std::time::Duration;

use crate::audit::Audit;
use crate::failure::Failure;
use crate::wait;
use ears::Ears;
use ground::{Ground, Turn};

/// What to play.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many sessions.
    pub sessions: usize,
    /// How many at a time.
    pub at_once: usize,
    /// Whether auditd runs meanwhile and audit alone is judged too.
    pub audit: bool,
}

/// Plays the sessions and prints who told what of them. An error if a session was missed, doubled or told wrong.
pub fn run(options: Options) -> Result<(), Failure> {
    if std::env::var_os(PLAY).is_none() {
        return if reaper::run()? {
            Ok(())
        } else {
            Err(Failure::Unexpected {
                what: "the play".to_owned(),
                text: "see above".to_owned(),
            })
        };
    }
    if !options.audit {
        return play(options);
    }
    let audit = Audit::take()?.map_err(|reason| Failure::Unexpected {
        what: "audit".to_owned(),
        text: reason,
    })?;
    let folder = Path::new("/run/picket-audit");
    std::fs::create_dir_all(folder).map_err(Failure::file(folder))?;
    let auditd = audit.start(folder, false, &[])?;
    let played = play(options);
    auditd.stop()?;
    played
}

fn play(options: Options) -> Result<(), Failure> {
    let sessions = plan::sessions(options.sessions);
    let mut ground = Ground::lay(&sessions)?;
    let ears = Ears::open(options.audit)?;
    let due = ground.start_cron(&sessions)?;
    let third = sessions.len() / 3;
    play::all(&sessions, options.at_once, |number| match number {
        number if number == third => ground.turn(Turn::Flush),
        number if number == 2 * third => ground.turn(Turn::Rotate),
        _ => Ok(()),
    })?;
    due.wait();
    // What is held longest: a failure that only a preliminary word told of.
    wait::pause(Duration::from_secs(6));
    let heard = ears.close()?;
    ground.clear()?;
    judge::report(&sessions, &heard)
}

/// Tells the program that it is the play, not its reaper.
const PLAY: &str = "PICKET_PLAY";
