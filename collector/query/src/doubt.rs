//! Which events another branch of a host's event keys signed, as the collector knew it when the query began.
//!
//! What stays true: of a list in which one span cannot be read nothing is used; the worker refuses the job.

use std::collections::HashMap;

use picket_event::{Class, HostId, StreamId};
use picket_store::StoredEvent;

/// Numbers of a chain that a branch signed which is not the host.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Doubt {
    /// The host's id.
    #[prost(bytes = "vec", tag = "1")]
    pub host_id: Vec<u8>,
    /// The run of its agent.
    #[prost(bytes = "vec", tag = "2")]
    pub stream: Vec<u8>,
    /// The class.
    #[prost(int32, tag = "3")]
    pub class: i32,
    /// The first number.
    #[prost(uint64, tag = "4")]
    pub first: u64,
    /// The number behind the last.
    #[prost(uint64, tag = "5")]
    pub end: u64,
    /// The name of the branch.
    #[prost(string, tag = "6")]
    pub branch: String,
}

/// Numbers and the branch that signed them.
type Span = (u64, u64, String);

/// All of them, by chain.
#[derive(Debug, Default)]
pub(crate) struct Doubts(HashMap<(HostId, StreamId, Class), Vec<Span>>);

impl Doubts {
    /// Of a job; `None`: it says something that is none.
    pub(crate) fn of(doubts: &[Doubt]) -> Option<Self> {
        let mut all: HashMap<_, Vec<Span>> = HashMap::new();
        for one in doubts {
            let host = HostId::from_slice(&one.host_id).ok()?;
            let stream = StreamId::from_slice(&one.stream).ok()?;
            let class = Class::from_wire(one.class)?;
            let spans = all.entry((host, stream, class)).or_default();
            spans.push((one.first, one.end, one.branch.clone()));
        }
        Some(Self(all))
    }

    /// Whether nothing is in doubt.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The branch that signed an event, if it is not the host.
    pub(crate) fn branch_of(&self, stored: &StoredEvent) -> Option<&str> {
        let spans = self.0.get(&(stored.host, stored.stream, stored.class))?;
        let holds = |(first, end, _): &&Span| (*first..*end).contains(&stored.event.seq);
        spans
            .iter()
            .find(holds)
            .map(|(_, _, branch)| branch.as_str())
    }
}

#[cfg(test)]
mod tests {
    use picket_event::{BootId, Event, Kind, Source, UnixNanos};

    use super::*;

    #[test]
    fn a_number_is_of_the_branch_whose_span_holds_it() {
        let doubt = Doubt {
            host_id: vec![1; 32],
            stream: vec![2; 16],
            class: Class::Bulk.to_wire(),
            first: 4,
            end: 6,
            branch: "9f2c".to_owned(),
        };
        let doubts = Doubts::of(std::slice::from_ref(&doubt)).unwrap();
        let mut stored = StoredEvent {
            host: HostId::new([1; 32]),
            boot: BootId::new([3; 16]),
            stream: StreamId::new([2; 16]),
            class: Class::Bulk,
            received: UnixNanos(1),
            event: Event::new(Kind::Exec, UnixNanos(1), Source::Ebpf),
        };
        let mut of = |seq| {
            stored.event.seq = seq;
            doubts.branch_of(&stored).map(str::to_owned)
        };
        let branch = Some("9f2c".to_owned());
        assert_eq!(
            [of(3), of(4), of(5), of(6)],
            [None, branch.clone(), branch, None]
        );
        stored.class = Class::Alert;
        stored.event.seq = 4;
        assert_eq!(doubts.branch_of(&stored), None);
        let bad = Doubt { class: 77, ..doubt };
        assert!(Doubts::of(&[bad]).is_none());
    }
}
