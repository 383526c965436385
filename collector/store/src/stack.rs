//! Stacking: how often each value of a field occurs over the fleet, the rarest first.
//!
//! # Invariants
//!
//! - Only the columns that are asked for are read where the query can be answered by columns alone.
//! - At most [`MAX_VALUES`] values are counted; if there are more, the answer says so.

use std::collections::HashMap;
use std::ops::ControlFlow;

use picket_event::field::{Field, Value};
use picket_event::{Event, HostId, UnixNanos};

use crate::{Order, Query, Reader, StoreError};

/// The most values that are counted at once, some 150 bytes each.
pub const MAX_VALUES: usize = 1_000_000;

/// What to count.
#[derive(Clone, Copy, Debug)]
pub struct Stacking {
    /// The values of this field.
    pub field: Field,
    /// Apart for each value of this one.
    pub by: Option<Field>,
    /// So many rows.
    pub limit: usize,
}

/// How often each value occurs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stack {
    /// The rarest first; where that is the same, those on fewer hosts, then in the order of the values.
    pub rows: Vec<StackRow>,
    /// How many values there are in all.
    pub values: u64,
    /// In how many events, a list counted once for each member.
    pub events: u64,
    /// Whether there were more values than can be counted; of those that came last nothing is known then.
    pub cut: bool,
}

/// One value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StackRow {
    /// The value, lossily where it is not UTF-8.
    pub value: String,
    /// The value of the other field; empty without one, or where an event has none.
    pub by: String,
    /// In how many events.
    pub count: u64,
    /// On how many hosts.
    pub hosts: u64,
    /// One of them.
    pub host: HostId,
    /// When first.
    pub first: UnixNanos,
    /// When last.
    pub last: UnixNanos,
}

impl Reader {
    /// Counts the values of a field in the wanted events.
    pub fn stack(&self, query: &Query, what: Stacking) -> Result<Stack, StoreError> {
        let mut counting = Counting::default();
        self.columns(query, what, &mut counting)?;
        Ok(counting.rarest(what.limit))
    }

    /// Counts in events, where columns do not say enough.
    pub(crate) fn count_events(
        &self,
        query: &Query,
        what: Stacking,
        counting: &mut Counting,
    ) -> Result<(), StoreError> {
        self.scan(query, Order::OldestFirst, &mut |stored| {
            counting.event(&stored.host, &stored.event, what);
            ControlFlow::Continue(())
        })?;
        Ok(())
    }
}

/// Values that are being counted.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    /// By the value of the other field, then by value.
    counts: HashMap<Box<str>, HashMap<Box<str>, Count>>,
    hosts: Vec<HostId>,
    numbers: HashMap<HostId, u32>,
    values: usize,
    events: u64,
    cut: bool,
}

#[derive(Debug)]
struct Count {
    events: u64,
    /// Sorted numbers of hosts.
    hosts: Vec<u32>,
    first: i64,
    last: i64,
}

impl Counting {
    /// The number of a host in this counting.
    pub(crate) fn host(&mut self, host: HostId) -> u32 {
        if let Some(number) = self.numbers.get(&host) {
            return *number;
        }
        let number = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        self.hosts.push(host);
        self.numbers.insert(host, number);
        number
    }

    /// Counts one value.
    pub(crate) fn add(&mut self, (value, by): (&str, &str), host: u32, time: i64) {
        if !self.counts.contains_key(by) {
            self.counts.insert(by.into(), HashMap::new());
        }
        let Some(counts) = self.counts.get_mut(by) else {
            return;
        };
        if let Some(count) = counts.get_mut(value) {
            count.add(host, time);
        } else if self.values < MAX_VALUES {
            self.values = self.values.saturating_add(1);
            counts.insert(value.into(), Count::one(host, time));
        } else {
            self.cut = true;
            return;
        }
        self.events = self.events.saturating_add(1);
    }

    /// Counts the values of one event.
    pub(crate) fn event(&mut self, host: &HostId, event: &Event, what: Stacking) {
        let Some(value) = what.field.of(event) else {
            return;
        };
        let host = self.host(*host);
        let by = what.by.and_then(|by| by.of(event));
        let by = by.map_or_else(|| vec![String::new()], texts);
        for value in texts(value) {
            for by in &by {
                self.add((&value, by), host, event.time.0);
            }
        }
    }

    fn rarest(self, limit: usize) -> Stack {
        let hosts = self.hosts;
        let mut rows = Vec::with_capacity(self.values);
        for (by, counts) in self.counts {
            for (value, count) in counts {
                rows.push((value, by.clone(), count));
            }
        }
        rows.sort_unstable_by(|(value, by, count), (other, other_by, others)| {
            let here = (count.events, count.hosts.len(), value, by);
            here.cmp(&(others.events, others.hosts.len(), other, other_by))
        });
        rows.truncate(limit);
        let rows = rows.into_iter();
        let rows = rows.filter_map(|(value, by, count)| {
            let first = usize::try_from(*count.hosts.first()?).ok()?;
            Some(StackRow {
                value: value.into(),
                by: by.into(),
                count: count.events,
                hosts: count.hosts.len() as u64,
                host: *hosts.get(first)?,
                first: UnixNanos(count.first),
                last: UnixNanos(count.last),
            })
        });
        Stack {
            rows: rows.collect(),
            values: self.values as u64,
            events: self.events,
            cut: self.cut,
        }
    }
}

impl Count {
    fn one(host: u32, time: i64) -> Self {
        Self {
            events: 1,
            hosts: vec![host],
            first: time,
            last: time,
        }
    }

    fn add(&mut self, host: u32, time: i64) {
        self.events = self.events.saturating_add(1);
        self.first = self.first.min(time);
        self.last = self.last.max(time);
        if let Err(place) = self.hosts.binary_search(&host) {
            self.hosts.insert(place, host);
        }
    }
}

/// A value as text; of a list each member.
fn texts(value: Value<'_>) -> Vec<String> {
    let lossy = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    match value {
        Value::Text(text) => vec![lossy(text)],
        Value::Word(word) => vec![word],
        Value::Number(number) => vec![number.to_string()],
        Value::Real(number) => vec![number.to_string()],
        Value::Flag(flag) => vec![flag.to_string()],
        Value::List(texts) => texts.into_iter().map(lossy).collect(),
        Value::Words(words) => words,
    }
}
