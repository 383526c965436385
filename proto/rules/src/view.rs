//! One event in the vocabularies that rules use, and what was written about it.

pub(crate) mod audit;
pub(crate) mod event;
pub(crate) mod written;

use crate::record::Fields;

/// What the names of a rule set mean in both vocabularies, found once when the set is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    pub(crate) event: Vec<Option<event::Field>>,
    pub(crate) audit: Vec<Option<audit::Field>>,
}

impl Columns {
    pub(crate) fn new(fields: &Fields) -> Self {
        let names = fields.names();
        Self {
            event: names
                .iter()
                .map(|name| event::Field::of_name(name))
                .collect(),
            audit: names
                .iter()
                .map(|name| audit::Field::of_name(name))
                .collect(),
        }
    }
}
