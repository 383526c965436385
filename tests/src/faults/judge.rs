//! At rest: is everything that was acknowledged there, once, and do the books balance to the number?
//!
//! Four witnesses: `picketctl verify` (signatures, chains, checkpoints), the bundle that it exports (every batch, read
//! here), the search, and what the agent's own files say at its end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use picket_event::batch::Header;
use picket_event::{Class, StreamId};
use picket_proto::v1;
use picket_proto::v1::evidence_item::Item;
use prost::Message;
use serde_json::Value;

use super::world::{Chain, World, chain_of, number, tail};
use crate::failure::Failure;

/// What was seen at the rests before.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Every event that was ever found, by its number in its chain.
    events: Found,
    /// Of damaged spools: numbers that other headers speak of and that never come.
    pub(super) outstanding: u64,
    /// Events that were stored at the last rest.
    pub(super) stored: u64,
    /// Numbers that are gaps.
    pub(super) gaps: u64,
}

/// Events by their place, each with a hash of its bytes.
type Found = HashMap<(Chain, u64), u64>;

/// One chain as its batches have it.
#[derive(Debug, Default)]
struct Held {
    next: u64,
    events: u64,
    /// Where each header begins that stands for lost ones.
    holes: Vec<u64>,
}

impl Memory {
    /// Looks at everything. `complete`: the agent was never interrupted in this round, so each of `markers` must be there.
    pub(super) fn judge(
        &mut self,
        world: &World,
        markers: &[String],
        complete: bool,
    ) -> Result<(), Failure> {
        no_panic(world)?;
        let bundle = world.rig.path().join("evidence");
        let bundle_name = bundle.display().to_string();
        let proven = world.rig.ctl_json(&["verify", "--export", &bundle_name])?;
        let bytes = std::fs::read(&bundle).map_err(Failure::file(&bundle))?;
        std::fs::remove_file(&bundle).map_err(Failure::file(&bundle))?;
        let (chains, found) = read(&bytes)?;
        acknowledged(world, &chains)?;
        self.same_as_before(found)?;
        self.books(world, &proven, &chains)?;
        closed(world, &chains)?;
        let total = chains.values().map(|held| held.events).sum();
        searched(world, total, markers, complete)?;
        without_alarm(world)
    }

    /// What was there once is there for ever.
    fn same_as_before(&mut self, found: Found) -> Result<(), Failure> {
        let gone = self
            .events
            .iter()
            .find(|(at, hash)| found.get(at) != Some(hash));
        if let Some((((stream, class), seq), _)) = gone {
            return wrong(format!(
                "event {seq} of {stream} {class} was stored, and is gone or another one"
            ));
        }
        self.events = found;
        Ok(())
    }

    /// numbered = stored + gaps, chain by chain.
    fn books(
        &mut self,
        world: &World,
        proven: &[Value],
        chains: &BTreeMap<Chain, Held>,
    ) -> Result<(), Failure> {
        (self.stored, self.gaps, self.outstanding) = (0, 0, 0);
        for line in proven {
            let Some(held) = chain_of(line).and_then(|chain| chains.get(&chain)) else {
                return wrong(format!(
                    "verify tells of a chain that the bundle lacks: {line}"
                ));
            };
            let gaps = line.get("gaps").and_then(Value::as_object);
            let gaps: u64 = gaps
                .into_iter()
                .flatten()
                .filter_map(|(_, n)| n.as_u64())
                .sum();
            let (events, next) = (number(line, "events"), number(line, "seq_next"));
            if (events, next) != (held.events, held.next) || events + gaps != next {
                return wrong(format!(
                    "numbered is not stored + gaps: {line} and {held:?}"
                ));
            }
            if line.pointer("/gaps/collector_loss").is_some() {
                return wrong(format!(
                    "the collector lost what it had acknowledged: {line}"
                ));
            }
            self.stored += events;
            self.gaps += gaps;
            self.outstanding += number(line, "outstanding");
        }
        if self.outstanding > 0 && !world.spool_destroyed {
            return wrong(format!("{} numbers never came", self.outstanding));
        }
        Ok(())
    }
}

/// Nothing below what was acknowledged is missing or was given up.
fn acknowledged(world: &World, chains: &BTreeMap<Chain, Held>) -> Result<(), Failure> {
    for ((stream, class), acked) in &world.acked {
        let held = chains.get(&(stream.clone(), class.clone()));
        let next = held.map_or(0, |held| held.next);
        let hole = held.and_then(|held| held.holes.iter().find(|hole| **hole < *acked));
        if next < *acked || hole.is_some() {
            return wrong(format!(
                "{stream} {class}: acknowledged to {acked}, stored to {next}, hole at {hole:?}"
            ));
        }
    }
    Ok(())
}

/// What the run that has just ended had numbered is here or, where its last send was too slow, still in its spool.
fn closed(world: &World, chains: &BTreeMap<Chain, Held>) -> Result<(), Failure> {
    let path = world.state().join("stream.json");
    let text = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
    let file = crate::rig::parse("stream.json", &text)?;
    let stream = file
        .get("stream")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if file.get("clean") != Some(&Value::Bool(true)) {
        return wrong(format!("a run that ended at rest is not clean: {text}"));
    }
    for head in file
        .get("heads")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let class = head
            .get("class")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let chain = (stream.to_owned(), class.to_owned());
        let next = chains.get(&chain).map_or(0, |held| held.next);
        let acked = world.acked.get(&chain).copied().unwrap_or_default();
        let numbered = number(head, "next_seq");
        if next > numbered || acked > next {
            return wrong(format!(
                "{stream} {class}: numbered {numbered}, stored {next}, acknowledged {acked}"
            ));
        }
    }
    Ok(())
}

/// The search finds each stored event, and each once.
fn searched(world: &World, total: u64, markers: &[String], complete: bool) -> Result<(), Failure> {
    let mut lines = HashSet::new();
    let mut seen: HashMap<&str, Vec<&str>> = HashMap::new();
    let printed = world
        .rig
        .ctl_prints(&["events", "--limit", "1000000", "--json"])?;
    for line in printed.lines() {
        if !lines.insert(line) {
            return wrong(format!("a search finds twice: {line}"));
        }
        for marker in markers {
            if line.contains(marker.as_str()) && is_exec_of(line, marker)? {
                let seen = seen.entry(marker).or_default();
                seen.push(line);
            }
        }
    }
    if lines.len() as u64 != total {
        return wrong(format!("a search finds {} of {total} events", lines.len()));
    }
    for marker in markers {
        let told = seen.get(marker.as_str()).map_or(&[][..], Vec::as_slice);
        if told.len() > 1 || (complete && told.is_empty()) {
            return wrong(format!(
                "the process {marker} was told {} times: {told:?}",
                told.len()
            ));
        }
    }
    Ok(())
}

/// Whether a line tells of the beginning of the process with this marker, and does not only name it among others.
fn is_exec_of(line: &str, marker: &str) -> Result<bool, Failure> {
    let event = crate::rig::parse("picketctl events", line)?;
    let argv = event.pointer("/process/argv").and_then(Value::as_array);
    let named = argv.is_some_and(|argv| argv.iter().any(|one| one == marker));
    Ok(named && event.get("kind").is_some_and(|kind| kind == "exec"))
}

fn without_alarm(world: &World) -> Result<(), Failure> {
    for host in world.rig.hosts()? {
        let shown = world.rig.host(&host)?;
        let alarms = shown.get("alarms").and_then(Value::as_array);
        if alarms.is_some_and(|alarms| !alarms.is_empty()) {
            return wrong(format!("an honest host is accused: {alarms:?}"));
        }
    }
    let forks = world.rig.figure("picket_ingest_forks_total")?;
    if forks > 0 {
        return wrong(format!(
            "{forks} batches of an honest host were called forks"
        ));
    }
    Ok(())
}

fn no_panic(world: &World) -> Result<(), Failure> {
    for (program, said) in world.logs() {
        if let Some(line) = said.lines().find(|line| line.contains("panicked")) {
            return wrong(format!("{program}: {line}; {}", tail(&said)));
        }
    }
    Ok(())
}

/// Chains and events of a bundle.
fn read(bundle: &[u8]) -> Result<(BTreeMap<Chain, Held>, Found), Failure> {
    let mut chains: BTreeMap<Chain, Held> = BTreeMap::new();
    let mut events = HashMap::new();
    let mut rest = bundle.strip_prefix(b"PKTEVID1").unwrap_or_default();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((item, behind)) = behind.split_at_checked(length) else {
            return wrong("the bundle ends in the middle".to_owned());
        };
        rest = behind;
        let item = v1::EvidenceItem::decode(item)
            .ok()
            .and_then(|item| item.item);
        if let Some(Item::Batch(batch)) = item {
            batch_of(&batch, &mut chains, &mut events)?;
        }
    }
    Ok((chains, events))
}

fn batch_of(
    batch: &v1::SignedBatch,
    chains: &mut BTreeMap<Chain, Held>,
    events: &mut Found,
) -> Result<(), Failure> {
    let header = v1::BatchHeader::decode(batch.header.as_slice()).ok();
    let Some(header) = header.and_then(|header| Header::try_from(header).ok()) else {
        return wrong("a stored header cannot be read".to_owned());
    };
    let chain = name(header.stream, header.class);
    let held = chains.entry(chain.clone()).or_default();
    if header.seq_first != held.next {
        return wrong(format!(
            "{chain:?} goes on at {} after {held:?}",
            header.seq_first
        ));
    }
    held.next = header.seq_first.saturating_add(header.count);
    if header.range_end.is_some() {
        held.holes.push(header.seq_first);
    }
    if batch.payload.is_empty() {
        return Ok(());
    }
    let payload = zstd::stream::decode_all(batch.payload.as_slice());
    let payload = payload
        .ok()
        .and_then(|payload| v1::BatchPayload::decode(payload.as_slice()).ok());
    let Some(payload) = payload else {
        return wrong("a stored payload cannot be read".to_owned());
    };
    for event in payload.events {
        let mut hasher = DefaultHasher::new();
        event.encode_to_vec().hash(&mut hasher);
        held.events += 1;
        if events
            .insert((chain.clone(), event.seq), hasher.finish())
            .is_some()
        {
            return wrong(format!("{chain:?} holds event {} twice", event.seq));
        }
    }
    Ok(())
}

fn name(stream: StreamId, class: Class) -> Chain {
    (stream.to_string(), class.name().to_owned())
}

fn wrong<T>(text: String) -> Result<T, Failure> {
    Err(Failure::Unexpected {
        what: "the evidence".to_owned(),
        text,
    })
}
