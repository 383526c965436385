//! The sensor's ledger on the wire.

use picket_proto::v1;

use crate::wire::{EventError, known};
use crate::{Kind, KindCounts, Loss, LostBy};

impl From<Loss> for v1::Loss {
    fn from(loss: Loss) -> Self {
        Self {
            kinds: loss.kinds.into_iter().map(Into::into).collect(),
            r#final: loss.last,
        }
    }
}

impl TryFrom<v1::Loss> for Loss {
    type Error = EventError;

    fn try_from(wire: v1::Loss) -> Result<Self, EventError> {
        let lines = wire.kinds.into_iter().map(TryInto::try_into);
        Ok(Self {
            kinds: lines.collect::<Result<_, _>>()?,
            last: wire.r#final,
        })
    }
}

impl From<KindCounts> for v1::KindCounts {
    fn from(counts: KindCounts) -> Self {
        Self {
            kind: counts.kind.to_wire(),
            generated: counts.generated,
            filtered: counts.filtered,
            aggregated: counts.aggregated,
            submitted: counts.submitted,
            lost: counts.lost,
            lost_ring: counts.lost_by.ring,
            lost_scratch: counts.lost_by.scratch,
            lost_shed: counts.lost_by.shed,
            lost_reader: counts.lost_by.reader,
        }
    }
}

impl TryFrom<v1::KindCounts> for KindCounts {
    type Error = EventError;

    fn try_from(wire: v1::KindCounts) -> Result<Self, EventError> {
        Ok(Self {
            kind: known("loss.kind", wire.kind, Kind::from_wire)?,
            generated: wire.generated,
            filtered: wire.filtered,
            aggregated: wire.aggregated,
            submitted: wire.submitted,
            lost: wire.lost,
            lost_by: LostBy {
                ring: wire.lost_ring,
                scratch: wire.lost_scratch,
                shed: wire.lost_shed,
                reader: wire.lost_reader,
            },
        })
    }
}
