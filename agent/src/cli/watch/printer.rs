//! The sink that people and scripts read: chosen events, and the ledger when all is over.
//!
//! What stays true: an event that is held back counts as filtered in the closing ledger, so that
//! what was submitted is what was printed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, Kind, Loss, Origin, Source};

use super::chosen::Chosen;
use super::{WatchArgs, table};
use crate::cli::form::Form;
use crate::cli::output::{Output, Reader};
use crate::failure::{Code, Failure};
use crate::pipeline::{Boxed, Sink, Stages};

/// An idle line is shown after this time at the latest.
const SHOW_AFTER: Duration = Duration::from_millis(50);

/// Standard output as a sink.
pub(super) struct Printer {
    out: Output,
    form: Form,
    chosen: Chosen,
    origin: Origin,
    seq: u64,
    held_back: BTreeMap<Kind, u64>,
    pub(super) reader: Reader,
    unshown: Option<Instant>,
}

impl Printer {
    pub(super) fn new(arguments: &WatchArgs, origin: Origin) -> Self {
        Self {
            out: Output::new(),
            form: Form::new(arguments.json, arguments.ocsf)
                .of_this_host()
                .with_environment(arguments.env),
            chosen: Chosen::new(arguments),
            origin,
            seq: 0,
            held_back: BTreeMap::new(),
            reader: Reader::There,
            unshown: None,
        }
    }

    fn print(&mut self, event: &Event) -> Result<(), Failure> {
        self.seq = self.seq.saturating_add(1);
        let text = self.form.line(event, &self.origin);
        self.line(&text)
    }

    fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.unshown.get_or_insert_with(Instant::now);
        let reader = self.out.line(text)?;
        self.notice(reader)
    }

    /// A reader that is gone ends the walk; the caller knows that it is no failure.
    fn notice(&mut self, reader: Reader) -> Result<(), Failure> {
        self.reader = reader;
        match reader {
            Reader::There => Ok(()),
            Reader::Gone => Err(Failure::line(Code::Failed, "nobody reads")),
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.unshown = None;
        let reader = self.out.flush()?;
        self.notice(reader)
    }

    fn print_last(&mut self, last: &Event) -> Result<(), Failure> {
        match (&self.form, &last.detail) {
            (Form::People { paint, .. }, Some(Detail::Loss(loss))) => {
                let lines = table::lines(loss, *paint);
                lines.iter().try_for_each(|line| self.line(line))
            }
            _ => self.print(last),
        }
    }
}

impl Sink for Printer {
    fn take(&mut self, mut event: Boxed) -> Result<(), Failure> {
        event.seq = self.seq;
        if self.chosen.takes(&event) {
            return self.print(&event);
        }
        let count = self.held_back.entry(event.kind).or_default();
        *count = count.saturating_add(1);
        Ok(())
    }

    /// The sensor's ledger says it, and the sensor's own `loss` events.
    fn lose(&mut self, _from: Source, _kind: Kind, _count: u64) -> Result<(), Failure> {
        Ok(())
    }

    fn tick(&mut self, _stages: &Stages) -> Result<(), Failure> {
        match self.unshown {
            Some(since) if since.elapsed() >= SHOW_AFTER => self.flush(),
            _ => Ok(()),
        }
    }

    fn patience(&self) -> Duration {
        let shown = self
            .unshown
            .map(|since| SHOW_AFTER.saturating_sub(since.elapsed()));
        shown.unwrap_or(Duration::MAX)
    }

    fn close(&mut self, mut last: Event, _stages: &Stages) -> Result<(), Failure> {
        last.seq = self.seq;
        if let Some(Detail::Loss(loss)) = &mut last.detail {
            balance(loss, &self.held_back);
        }
        self.print_last(&last)?;
        self.flush()
    }
}

/// What was held back was filtered, not handed on.
fn balance(loss: &mut Loss, held_back: &BTreeMap<Kind, u64>) {
    for line in &mut loss.kinds {
        line.hold_back(held_back.get(&line.kind).copied().unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use picket_event::KindCounts;

    use super::*;

    #[test]
    fn what_was_held_back_counts_as_filtered() {
        let line = |kind| KindCounts {
            generated: 9,
            filtered: 1,
            submitted: 8,
            ..KindCounts::zero(kind)
        };
        let mut loss = Loss {
            kinds: vec![line(Kind::Exec), line(Kind::Exit)],
            last: true,
        };
        balance(&mut loss, &BTreeMap::from([(Kind::Exit, 5)]));
        let shares = loss
            .kinds
            .iter()
            .map(|line| (line.filtered, line.submitted));
        assert_eq!(shares.collect::<Vec<_>>(), [(1, 8), (6, 3)]);
        assert!(loss.kinds.iter().all(KindCounts::balances));
    }
}
