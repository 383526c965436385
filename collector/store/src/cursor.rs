//! A place in the store that a follower can keep and come back to.

/// A place between two records.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cursor {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

impl Cursor {
    /// Before the first record.
    pub const START: Self = Self {
        segment: 0,
        offset: 0,
    };

    /// As 12 bytes: segment u32 le, offset u64 le.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let offset = self.offset.to_le_bytes();
        let parts = self.segment.to_le_bytes().into_iter().chain(offset);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        bytes
    }

    /// From these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (segment, offset) = bytes.split_first_chunk()?;
        let offset = u64::from_le_bytes(offset.try_into().ok()?);
        Some(Self {
            segment: u32::from_le_bytes(*segment),
            offset,
        })
    }
}
