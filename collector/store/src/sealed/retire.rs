//! Retention: sealed files that are too old, or too many, go.

use std::time::Duration;

use picket_event::{Class, UnixNanos};

use super::catalogue::FileEntry;
use super::{SealReport, Sealer};
use crate::StoreError;

/// How long events stay searchable, and how much of the disk they may take. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limit {
    /// Files whose latest event is older than this go.
    pub age: Option<Duration>,
    /// The oldest files go until what is left has at most this many bytes.
    pub bytes: Option<u64>,
}

/// A limit for each class.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Retention {
    /// Of alerts.
    pub alert: Limit,
    /// Of processes, logins and what else matters.
    pub security: Limit,
    /// Of files, network and forks.
    pub bulk: Limit,
}

impl Retention {
    /// The limit of a class.
    pub const fn of(&self, class: Class) -> Limit {
        match class {
            Class::Alert => self.alert,
            Class::Security => self.security,
            Class::Bulk => self.bulk,
        }
    }
}

impl Sealer {
    /// Retires the files that are beyond the limits. What is still in the log alone is not touched.
    pub fn retire(
        &mut self,
        retention: &Retention,
        now: UnixNanos,
    ) -> Result<SealReport, StoreError> {
        self.check()?;
        let mut report = SealReport::default();
        let mut went = Vec::new();
        for class in Class::ALL {
            went.extend(self.beyond(*class, retention.of(*class), now));
        }
        if went.is_empty() {
            return Ok(report);
        }
        let mut next = self.catalogue.clone();
        next.files.retain(|entry| !went.contains(&entry.number));
        self.commit(next, &[], &went)?;
        report.replaced = went.len() as u64;
        Ok(report)
    }

    fn beyond(&self, class: Class, limit: Limit, now: UnixNanos) -> Vec<u64> {
        let of_class = self.catalogue.files.iter();
        let mut files: Vec<&FileEntry> = of_class
            .filter(|file| file.partition.class == class)
            .collect();
        files.sort_by_key(|file| std::cmp::Reverse(newness(file)));
        let oldest = limit.age.map(|age| now.minus(age));
        let mut room = limit.bytes;
        let mut full = false;
        let mut went = Vec::new();
        for file in files {
            if let Some(left) = room {
                full |= file.bytes > left;
                room = Some(left.saturating_sub(file.bytes));
            }
            let old = oldest.is_some_and(|oldest| newness(file) < oldest);
            if old || full {
                went.push(file.number);
            }
        }
        went
    }
}

/// The time of a file's latest event; a host that tells the future does not keep it longer than its folder says.
fn newness(file: &FileEntry) -> UnixNanos {
    let last = file.summary.last;
    last.min(file.partition.end())
}
