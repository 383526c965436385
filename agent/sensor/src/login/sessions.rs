//! Who is logged in, as far as the sources told: what the end of a session does not say itself.
//!
//! # Invariants
//!
//! - At most [`MAX_SESSIONS`] by each key, [`MAX_NAMELESS`] without one; the oldest makes room.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use picket_event::{Kind, Login, Text};

use super::fact::{Fact, Witness};
use super::fusion::fill;

/// Open sessions by the process that logged them in, by their terminal, and by their audit session.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    processes: Bounded<u32>,
    /// By process too: a terminal's name may be another's before the end of its last session is recorded.
    terminals: Bounded<(Text, Option<u32>)>,
    numbers: Bounded<u32>,
    /// Of those whose process is not known.
    nameless: VecDeque<Login>,
}

impl Sessions {
    /// A session as it is known by now.
    pub(super) fn note(&mut self, pid: Option<u32>, kind: Kind, login: &Login) {
        if let Some(number) = login.session {
            self.numbers.insert(number, login);
        }
        let begins = matches!(kind, Kind::Login | Kind::Session | Kind::AccountSwitch);
        match pid {
            _ if !begins || login.outcome != "success" => {}
            Some(pid) => self.processes.insert(pid, login),
            None => self.note_nameless(login),
        }
    }

    /// sudo's lines have no process number.
    fn note_nameless(&mut self, login: &Login) {
        if login.service != "sudo" {
            return;
        }
        // Its own line and PAM's are about one session.
        match self
            .nameless
            .back_mut()
            .filter(|last| is_about(last, login))
        {
            Some(last) => fill(last, login),
            None => self.nameless.push_back(login.clone()),
        }
        if self.nameless.len() > MAX_NAMELESS {
            self.nameless.pop_front();
        }
    }

    /// The session that ends. Of several that can be meant one is forgotten and nobody knows any more whose the others are.
    fn end_nameless(&mut self, login: &Login) -> Option<Login> {
        let is_it = |open: &Login| open.service == login.service && is_about(open, login);
        let place = self.nameless.iter().position(is_it)?;
        let mut ended = self.nameless.remove(place)?;
        for other in self.nameless.iter_mut().filter(|other| is_it(other)) {
            for of_either in [&mut *other, &mut ended] {
                of_either.user = Text::NONE;
                of_either.tty = Text::NONE;
            }
        }
        Some(ended)
    }

    /// Whether somebody has told of this audit session before.
    pub(super) fn knows(&self, number: Option<u32>) -> bool {
        number.is_some_and(|number| self.numbers.logins.contains_key(&number))
    }

    /// Adds to a fact what is known of its session. False: a record that ends no session.
    pub(super) fn complete(&mut self, fact: &mut Fact, pid: Option<u32>) -> bool {
        let login = &mut fact.login;
        match fact.witness {
            Witness::RecordLogin => self.terminals.insert((login.tty.clone(), pid), login),
            Witness::RecordLogoff => match self.terminals.remove(&(login.tty.clone(), pid)) {
                Some(begun) => fill(login, &begun),
                None => return !login.user.is_empty(),
            },
            Witness::SessionClosed => {
                let begun = match pid {
                    Some(pid) => self.processes.remove(&pid),
                    None => self.end_nameless(login),
                };
                if let Some(begun) = begun {
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

/// Whether both can be of one session.
fn is_about(one: &Login, other: &Login) -> bool {
    let same = |one: &Text, other: &Text| one.is_empty() || other.is_empty() || one == other;
    same(&one.user, &other.user) && same(&one.target_user, &other.target_user)
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

/// Most sessions remembered whose process is not known.
const MAX_NAMELESS: usize = 256;
/// Most sessions remembered by each key.
const MAX_SESSIONS: usize = 4_096;
