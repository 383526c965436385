//! Stacking: the hunter's first question, answered by columns.

use std::sync::Arc;

use picket_event::HostId;
use picket_event::field::Field;
use picket_proto::v1;
use picket_store::{Stack, StackRow, Stacking};
use tonic::Status;

use super::OperatorService;
use crate::refusal::Refusal;

impl OperatorService {
    pub(super) async fn stacked(
        &self,
        request: v1::StackRequest,
    ) -> Result<v1::StackResponse, Status> {
        let events = request.events.unwrap_or_default();
        let mut query = self.query(&events)?;
        let by = match request.by.as_str() {
            "" => None,
            path => Some(field(path)?),
        };
        let what = Stacking {
            field: field(&request.field)?,
            by,
            limit: limit(events.limit),
        };
        let stacked = self.walk_noting(move |reader| {
            if query.needs_sessions() {
                query.sessions = Some(Arc::new(reader.sessions(query.hosts.clone())?));
            }
            reader.stack(&query, what)
        });
        let (stack, unread) = stacked.await?;
        Ok(v1::StackResponse {
            unread,
            ..self.shown_stack(stack)
        })
    }

    fn shown_stack(&self, stack: Stack) -> v1::StackResponse {
        let mut left = LARGEST;
        let rows = stack.rows.into_iter().map_while(|row| {
            let size = row.value.len() + row.by.len() + ROW;
            left = left.checked_sub(size)?;
            Some(self.shown_row(row))
        });
        v1::StackResponse {
            rows: rows.collect(),
            values: stack.values,
            events: stack.events,
            cut: stack.cut,
            unread: Vec::new(),
        }
    }

    fn shown_row(&self, row: StackRow) -> v1::StackRow {
        let name = |host: &HostId| self.registry.name(host);
        v1::StackRow {
            host_name: name(&row.host),
            host_id: row.host.as_bytes().to_vec(),
            value: row.value,
            by: row.by,
            count: row.count,
            hosts: row.hosts,
            first_unix_ns: row.first.0,
            last_unix_ns: row.last.0,
        }
    }
}

fn field(path: &str) -> Result<Field, Status> {
    Field::named(path).ok_or_else(|| {
        let path: String = path.chars().take(128).collect();
        Refusal::BadQuery.saying(format!("there is no field `{path}`"))
    })
}

fn limit(asked: u64) -> usize {
    let asked = if asked == 0 { DEFAULT } else { asked };
    usize::try_from(asked).unwrap_or(MOST).min(MOST)
}

const DEFAULT: u64 = 50;

/// Most rows of an answer.
const MOST: usize = 100_000;

/// Largest answer, in bytes, roughly.
const LARGEST: usize = 16 << 20;

/// Bytes of a row beside its values.
const ROW: usize = 96;
