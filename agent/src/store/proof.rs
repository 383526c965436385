//! A signature that the uplink wants from the path, which alone holds the event key.

use std::sync::{Mutex, MutexGuard, PoisonError};

use picket_seal::Signature;

/// One at a time; a new wish takes the place of an old one.
#[derive(Debug, Default)]
pub(crate) struct Proof(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Asked(Vec<u8>),
    Signed(u64, Signature),
}

impl Proof {
    /// Asks for a signature over a nonce.
    pub(crate) fn ask(&self, nonce: Vec<u8>) {
        *self.state() = State::Asked(nonce);
    }

    /// Signs what was asked for, if anything; `sign` gives the epoch of its key too.
    pub(crate) fn sign(&self, sign: impl Fn(&[u8]) -> (u64, Signature)) {
        let mut state = self.state();
        if let State::Asked(nonce) = &*state {
            let (epoch, signature) = sign(nonce);
            *state = State::Signed(epoch, signature);
        }
    }

    /// The signature and the epoch of its key, once.
    pub(crate) fn take(&self) -> Option<(u64, Signature)> {
        let mut state = self.state();
        match std::mem::take(&mut *state) {
            State::Signed(epoch, signature) => Some((epoch, signature)),
            other => {
                *state = other;
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
