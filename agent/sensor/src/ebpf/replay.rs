//! Recorded kernel records, without a kernel: the way from bytes to events is the same.

use picket_event::{Event, Kind};

use super::cgroups::Cgroups;
use super::intake::Intake;
use super::raw::RawRecord;
use super::translate::Translator;
use super::watch::Watch;
use crate::Settings;

/// The events of a recording that [`Settings::recording`] made, oldest first. `settings` must name
/// the boot and the paths of then. Bytes that are not a record end the replay.
pub fn events(settings: &Settings, recording: &[u8]) -> Vec<Event> {
    let watch = Watch::new(&settings.watch, &settings.secrets);
    let translator = Translator::new(settings.boot, watch, Cgroups::empty(), settings.environment);
    let mut intake = Intake::new(translator, None);
    let mut rest = recording;
    while let Some((record, after)) = split_record(rest) {
        intake.accept(record);
        rest = after;
    }
    let mut out = Vec::new();
    intake.release(u64::MAX, &mut out);
    out.into_iter().map(|event| *event).collect()
}

/// The first record and what follows it.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk::<4>()?);
    let split = bytes.split_at_checked(usize::try_from(length).ok()?);
    split.filter(|(record, _)| RawRecord::claimed_kind(record).is_some_and(is_made_by_the_kernel))
}

fn is_made_by_the_kernel(kind: Kind) -> bool {
    super::counters::KINDS.contains(&kind)
}

#[cfg(test)]
mod tests;
