//! Who is logged in, as far as the sources told: what the end of a session does not say itself.
//!
//! # Invariants
//!
//! - At most [`MAX_SESSIONS`] by process and as many by terminal; the oldest makes room.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use picket_event::{Kind, Login, Text};

use super::fact::{Fact, Witness};
use super::fusion::fill;

/// Open sessions by the process that logged them in, by their terminal, and by their audit session.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    processes: Bounded<u32>,
    terminals: Bounded<Text>,
    numbers: Bounded<u32>,
}

impl Sessions {
    /// A session as it is known by now.
    pub(super) fn note(&mut self, pid: Option<u32>, kind: Kind, login: &Login) {
        if let Some(number) = login.session {
            self.numbers.insert(number, login);
        }
        let begins = matches!(kind, Kind::Login | Kind::Session | Kind::AccountSwitch);
        if let Some(pid) = pid.filter(|_| begins && login.outcome == "success") {
            self.processes.insert(pid, login);
        }
    }

    /// Whether somebody has told of this audit session before.
    pub(super) fn knows(&self, number: Option<u32>) -> bool {
        number.is_some_and(|number| self.numbers.logins.contains_key(&number))
    }

    /// Adds to a fact what is known of its session. False: a record that ends no session.
    pub(super) fn complete(&mut self, fact: &mut Fact, pid: Option<u32>) -> bool {
        let login = &mut fact.login;
        match fact.witness {
            Witness::RecordLogin => self.terminals.insert(login.tty.clone(), login),
            Witness::RecordLogoff => match self.terminals.remove(&login.tty) {
                Some(begun) => fill(login, &begun),
                None => return !login.user.is_empty(),
            },
            Witness::SessionClosed => {
                if let Some(begun) = pid.and_then(|pid| self.processes.remove(&pid)) {
                    fill(
                        login,
                        &Login {
                            command: Text::NONE,
                            ..begun
                        },
                    );
                }
            }
            _ => {}
        }
        true
    }
}

#[derive(Debug)]
struct Bounded<K> {
    logins: HashMap<K, Login>,
    order: VecDeque<K>,
}

impl<K: Clone + Eq + Hash> Bounded<K> {
    fn insert(&mut self, key: K, login: &Login) {
        if self.logins.insert(key.clone(), login.clone()).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_SESSIONS {
            self.order
                .pop_front()
                .and_then(|oldest| self.logins.remove(&oldest));
        }
    }

    fn remove(&mut self, key: &K) -> Option<Login> {
        let login = self.logins.remove(key)?;
        self.order.retain(|other| other != key);
        Some(login)
    }
}

impl<K> Default for Bounded<K> {
    fn default() -> Self {
        Self {
            logins: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

/// Most sessions remembered by each key.
const MAX_SESSIONS: usize = 4_096;
