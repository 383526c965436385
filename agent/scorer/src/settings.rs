//! What a scorer is told when it is made.

use std::fmt;

/// What a scorer is told when it is made.
#[derive(Clone, Copy)]
pub struct Settings {
    /// Keys every hash of the table, so that nobody who does not know it can make two texts meet.
    /// One per host; a snapshot can be restored only with the secret that it was made with.
    pub host_secret: [u8; 16],
    /// How many counts are remembered, 24 bytes each. Rounded up to a power of two, from
    /// [`Settings::MIN_SLOTS`] to [`Settings::MAX_SLOTS`].
    pub slots: usize,
    /// An alert takes a mature context and at least this much surprise beyond its usual, in bits.
    pub alert_bits: f64,
    /// An alert takes a calibrated probability of the event of at most this.
    pub alert_p: f64,
}

impl Settings {
    /// Fewest slots, in which little is remembered for long.
    pub const MIN_SLOTS: usize = 1 << 10;
    /// Most slots: 6.3 MB.
    pub const MAX_SLOTS: usize = 1 << 18;

    /// The settings of a host as it comes: 6.3 MB, alerts from 16 bits and p of 1 in 10,000.
    pub const fn new(host_secret: [u8; 16]) -> Self {
        Self {
            host_secret,
            slots: Self::MAX_SLOTS,
            alert_bits: 16.0,
            alert_p: 1e-4,
        }
    }

    /// The number of slots that there will be.
    pub(crate) fn table_slots(&self) -> usize {
        self.slots
            .clamp(Self::MIN_SLOTS, Self::MAX_SLOTS)
            .next_power_of_two()
    }
}

/// Without the secret.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("slots", &self.slots)
            .field("alert_bits", &self.alert_bits)
            .field("alert_p", &self.alert_p)
            .finish_non_exhaustive()
    }
}
