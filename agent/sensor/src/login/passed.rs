//! Whom PAM let through lately: sudo refuses some of them all the same, and its line has no process number.
//!
//! # Invariants
//!
//! - At most [`MOST`] are remembered, each for [`LATELY`].

use std::collections::VecDeque;
use std::time::Duration;

use picket_event::{Login, Process, UnixNanos};

use super::fusion::Word;

/// The last ones.
#[derive(Debug, Default)]
pub(super) struct Passed(VecDeque<One>);

#[derive(Debug)]
struct One {
    time: UnixNanos,
    login: Login,
    who: Who,
}

/// Process number, its parent's, and the process.
type Who = (Option<u32>, Option<u32>, Option<Process>);

impl Passed {
    /// PAM said that somebody is who he says.
    pub(super) fn note(&mut self, word: &Word) {
        if word.process.is_none() {
            return;
        }
        self.0.push_back(One {
            time: word.time,
            login: word.fact.login.clone(),
            who: (word.pid, word.ppid, word.process.clone()),
        });
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// Who that was, if one of the same user and service was let through just before.
    pub(super) fn take(&mut self, word: &Word) -> Option<Who> {
        let login = &word.fact.login;
        let place = self.0.iter().rposition(|one| {
            one.login.service == login.service
                && one.login.user == login.user
                && word.time.since(one.time).max(one.time.since(word.time)) <= LATELY
        })?;
        self.0.remove(place).map(|one| one.who)
    }
}

const MOST: usize = 64;
const LATELY: Duration = Duration::from_secs(5);
