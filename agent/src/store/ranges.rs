//! Holes that the uplink met and wants signed. Only the path holds the key, so they wait here, one for each class.

use std::sync::{Mutex, MutexGuard, PoisonError};

use picket_event::Class;

use super::index;
use crate::seal::{Range, Sealed};

/// One place for each class.
#[derive(Debug, Default)]
pub(crate) struct Ranges([Mutex<Place>; 3]);

#[derive(Debug, Default)]
enum Place {
    #[default]
    Empty,
    Asked(Range),
    Signed(Box<Sealed>),
}

impl Ranges {
    /// Asks for a signature. An earlier wish of the class is forgotten.
    pub(crate) fn ask(&self, range: Range) {
        let mut place = self.place(range.class());
        *place = Place::Asked(range);
    }

    /// What waits for a signature, by `sign`. Whether there was anything.
    pub(crate) fn sign(&self, sign: impl Fn(&Range) -> Sealed) -> bool {
        let mut any = false;
        for class in Class::ALL {
            let mut place = self.place(*class);
            if let Place::Asked(range) = &*place {
                *place = Place::Signed(Box::new(sign(range)));
                any = true;
            }
        }
        any
    }

    /// The signed header, once.
    pub(crate) fn take(&self, class: Class) -> Option<Sealed> {
        let mut place = self.place(class);
        match std::mem::take(&mut *place) {
            Place::Signed(sealed) => Some(*sealed),
            other => {
                *place = other;
                None
            }
        }
    }

    /// A new connection begins: what an earlier one wanted is not wanted any more.
    pub(crate) fn forget(&self) {
        for class in Class::ALL {
            *self.place(*class) = Place::Empty;
        }
    }

    fn place(&self, class: Class) -> MutexGuard<'_, Place> {
        self.0[index(class)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
