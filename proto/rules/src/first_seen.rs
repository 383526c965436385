//! `x-first-seen`: a value, or a combination of values, that was not seen before on this host or for this user.
//!
//! # Invariants
//!
//! - Time is that of the events; the clock is never asked.
//! - A rule tells nothing until it has learned for as long as it says: time in which events were seen, of which a gap counts
//!   as [`LONGEST_STEP`] at most, so neither a clock that is set nor a host that was off makes it learn faster.
//! - At most [`MOST_VALUES_OF_ONE`] values of one rule and [`MOST_VALUES`] of all are remembered, as hashes. When full, the
//!   one that was not seen for the longest goes; one that still counted is counted as forgotten, and would be told as
//!   new again.
//! - What is kept and read back goes on as if nothing had happened; bytes that are damaged are refused as a whole.

mod kept;

use std::collections::{BTreeMap, HashMap};

use picket_event::{Event, UnixNanos};
use picket_seal::Digest;

use crate::logsource::View;
use crate::refusal::{Fault, Reason};
use crate::sequence::{self, Whose};
use crate::span;
use crate::view::event::Field;
use crate::yaml::Node;

/// Most values that are remembered, of all rules together.
pub const MOST_VALUES: usize = 1 << 15;
/// Most values that are remembered, of one rule.
pub const MOST_VALUES_OF_ONE: usize = 1 << 12;
/// A gap between events counts as learning for so long at most, in nanoseconds.
const LONGEST_STEP: i64 = 3_600_000_000_000;
/// A clock that goes back by more was set, in nanoseconds.
const SET_BACK: i64 = 24 * LONGEST_STEP;
/// Most fields that make one value.
const MOST_FIELDS: usize = 8;
/// How long a rule learns that does not say.
const LEARNING: &str = "7d";

/// The extension as a rule writes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FirstSeen {
    pub(crate) fields: Vec<String>,
    pub(crate) per: Per,
    /// In nanoseconds.
    within: i64,
    /// In nanoseconds.
    learning: i64,
}

/// For whom a value is new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Per {
    Host,
    User,
}

/// Reads `x-first-seen` of a rule that has this view.
pub(crate) fn parse(node: &Node, view: View) -> Result<FirstSeen, Fault> {
    let pairs = node.map().filter(|_| view != View::Text);
    let wanted = "a map with `fields` and `within`, for events";
    for (key, at) in pairs.ok_or_else(|| shape(node, wanted))? {
        if !["fields", "per", "within", "learning"].contains(&key.text.as_str()) {
            return Err(value(
                at,
                "x-first-seen",
                &key.text,
                "not a key that is known",
            ));
        }
    }
    let per = match node.get("per").map(|per| per.text().unwrap_or_default()) {
        None | Some("host") => Per::Host,
        Some("user") => Per::User,
        Some(other) => return Err(value(node, "x-first-seen.per", other, "not host or user")),
    };
    let length = |key: &'static str, otherwise| {
        let text = match node.get(key) {
            None => otherwise,
            Some(text) => text.text().unwrap_or_default(),
        };
        span::nanoseconds(text).ok_or_else(|| value(node, key, text, "not a time as `30d`"))
    };
    Ok(FirstSeen {
        fields: fields(node)?,
        per,
        within: length("within", "")?,
        learning: length("learning", LEARNING)?,
    })
}

/// One field, or a list of some that exist.
fn fields(node: &Node) -> Result<Vec<String>, Fault> {
    let fault = || shape(node, "with `fields`, a field or a list of 1 to 8 fields");
    let fields = node.get("fields").ok_or_else(fault)?;
    let nodes = fields
        .list()
        .unwrap_or_else(|| std::slice::from_ref(fields));
    if !(1..=MOST_FIELDS).contains(&nodes.len()) {
        return Err(fault());
    }
    let named = nodes.iter().map(|node| {
        let name = node.text().ok_or_else(fault)?;
        let known = Field::of_name(name).is_some();
        known.then(|| name.to_owned()).ok_or_else(|| {
            node.fault(Reason::Field {
                field: name.to_owned(),
            })
        })
    });
    named.collect()
}

/// What was seen, by rule.
#[derive(Debug, Default)]
pub(crate) struct Firsts {
    rules: Vec<Memory>,
    /// When the newest event was.
    newest: Option<i64>,
    values: usize,
    touches: u64,
    forgotten: u64,
}

/// What one rule has seen.
#[derive(Debug)]
struct Memory {
    id: String,
    plan: FirstSeen,
    /// In nanoseconds.
    learned: i64,
    /// By hash: when it was last seen, and the touch.
    seen: HashMap<u128, (i64, u64)>,
    by_touch: BTreeMap<u64, u128>,
}

impl Firsts {
    /// Its number.
    pub(crate) fn add(&mut self, id: String, plan: FirstSeen) -> usize {
        self.rules.push(Memory {
            id,
            plan,
            learned: 0,
            seen: HashMap::new(),
            by_touch: BTreeMap::new(),
        });
        self.rules.len().saturating_sub(1)
    }

    /// How many rules tell nothing yet.
    pub(crate) fn learning(&self) -> usize {
        let learning = self.rules.iter().filter(|memory| memory.is_learning());
        learning.count()
    }

    /// How many values were forgotten for want of room that still counted.
    pub(crate) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Forgets all values; what was learned counts as enough if `learned`.
    pub(crate) fn forget(&mut self, learned: bool) {
        (self.newest, self.values) = (None, 0);
        for memory in &mut self.rules {
            memory.seen.clear();
            memory.by_touch.clear();
            memory.learned = if learned { i64::MAX } else { 0 };
        }
    }

    /// Time passes, whether or not a rule cares for the event.
    pub(crate) fn watch(&mut self, time: UnixNanos) {
        let UnixNanos(time) = time;
        let newest = self.newest.unwrap_or(time);
        let passed = time.saturating_sub(newest);
        if passed < 0 && passed > -SET_BACK {
            return;
        }
        self.newest = Some(time);
        let learned = passed.clamp(0, LONGEST_STEP);
        if learned > 0 {
            for memory in &mut self.rules {
                memory.learned = memory.learned.saturating_add(learned);
            }
        }
    }

    /// Whether rule `number` tells that it has not seen these values before.
    pub(crate) fn step(&mut self, number: usize, event: &Event, values: &[Vec<u8>]) -> bool {
        let Some(memory) = self.rules.get(number) else {
            return false;
        };
        let whose = match memory.plan.per {
            Per::Host => Some(Whose::Host),
            Per::User => sequence::user(event),
        };
        let Some(whose) = whose else {
            return false;
        };
        let hash = hash(&whose, values);
        if !memory.seen.contains_key(&hash) {
            self.make_room(number, event.time);
        }
        self.touches += 1;
        let Some(memory) = self.rules.get_mut(number) else {
            return false;
        };
        let before = memory.note(hash, event.time.0, self.touches);
        self.values += usize::from(before.is_none());
        let from = event.time.0.saturating_sub(memory.plan.within);
        let new = before.is_none_or(|before| before < from);
        new && !memory.is_learning()
    }

    /// The value that was not seen for the longest goes: of this rule if it has too many, else of the rule that has most.
    fn make_room(&mut self, number: usize, now: UnixNanos) {
        let full = |memory: &Memory| memory.seen.len() >= MOST_VALUES_OF_ONE;
        let of = if self.rules.get(number).is_some_and(full) {
            Some(number)
        } else if self.values >= MOST_VALUES {
            let largest = self.rules.iter().enumerate();
            largest
                .max_by_key(|(_, memory)| memory.seen.len())
                .map(|(number, _)| number)
        } else {
            None
        };
        let memory = of.and_then(|of| self.rules.get_mut(of));
        if let Some(memory) = memory
            && let Some(last) = memory.drop_oldest()
        {
            self.values = self.values.saturating_sub(1);
            let counted = last >= now.0.saturating_sub(memory.plan.within);
            self.forgotten += u64::from(counted);
        }
    }

    /// Goes on with what the rules before these had seen, where a rule asks the same.
    pub(crate) fn go_on(&mut self, before: Self) {
        self.newest = before.newest;
        self.touches = before.touches;
        self.forgotten = before.forgotten;
        for old in before.rules {
            let same = |new: &&mut Memory| new.asks_as(&old);
            if let Some(new) = self.rules.iter_mut().find(same) {
                (new.learned, new.seen, new.by_touch) = (old.learned, old.seen, old.by_touch);
            }
        }
        self.values = self.rules.iter().map(|memory| memory.seen.len()).sum();
    }
}

impl Memory {
    fn is_learning(&self) -> bool {
        self.learned < self.plan.learning
    }

    /// Whether both mean the same by a value.
    fn asks_as(&self, other: &Self) -> bool {
        self.id == other.id
            && (&self.plan.fields, self.plan.per) == (&other.plan.fields, other.plan.per)
    }

    /// Notes that a value was seen at this time, and says when it was before.
    fn note(&mut self, hash: u128, time: i64, touch: u64) -> Option<i64> {
        let before = self.seen.get(&hash).copied();
        let last = before.map_or(time, |(last, _)| last.max(time));
        if let Some((_, touch)) = before {
            self.by_touch.remove(&touch);
        }
        self.seen.insert(hash, (last, touch));
        self.by_touch.insert(touch, hash);
        before.map(|(last, _)| last)
    }

    /// Forgets the value that was not seen for the longest, and says when that was.
    fn drop_oldest(&mut self) -> Option<i64> {
        let (_, hash) = self.by_touch.pop_first()?;
        self.seen.remove(&hash).map(|(last, _)| last)
    }
}

/// The first half of a SHA-256: no values are kept, and nobody can find two that agree.
fn hash(whose: &Whose, values: &[Vec<u8>]) -> u128 {
    let mut bytes = Vec::new();
    match whose {
        Whose::User(name) => put(&mut bytes, name),
        Whose::Host | Whose::Process(_) | Whose::Session(_) => {}
    }
    for value in values {
        put(&mut bytes, value);
    }
    u128::from_le_bytes(half(&bytes))
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text);
}

/// The first half of the SHA-256 of these bytes.
fn half(bytes: &[u8]) -> [u8; 16] {
    let Digest(digest) = Digest::of(bytes);
    let half = digest.first_chunk();
    *half.expect("a digest has 32 bytes")
}

fn shape(node: &Node, wanted: &'static str) -> Fault {
    node.fault(Reason::Shape {
        key: "x-first-seen".into(),
        wanted,
    })
}

fn value(node: &Node, key: &str, value: &str, detail: &'static str) -> Fault {
    node.fault(Reason::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        detail,
    })
}
