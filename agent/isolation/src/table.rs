//! The table in the kernel: written, read back, removed.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::attribute::{Attribute, decode, find, name};
use crate::compare::{counted, holds};
use crate::expression::Expression;
use crate::netlink::{APPEND, CREATE, Message, Socket};
use crate::ruleset::{BRIDGE, Chain, INET, Part, Rule, parts};
use crate::{IN_FORCE, IsolationError, TABLE, Wanted};

/// What of the table this kernel can have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Form {
    /// The collector's rule asks for the control group; else for the user alone.
    pub cgroup: bool,
    /// What bridges pass on is dropped too.
    pub bridge: bool,
}

/// Writes, reads and removes the table in this process's network namespace.
#[derive(Debug)]
pub struct Table {
    socket: Socket,
}

impl Table {
    /// Ready to ask the kernel; nothing is changed.
    pub fn open() -> Result<Self, IsolationError> {
        let socket = Socket::open().map_err(|source| {
            let what = "it has no netlink for its firewall";
            IsolationError::Unsupported { what, source }
        })?;
        Ok(Self { socket })
    }

    /// Puts the table in force in place of an earlier one, in one step, in the best form that this kernel takes.
    pub fn apply(&mut self, wanted: &Wanted) -> Result<Form, IsolationError> {
        let has_group = wanted.own.is_some_and(|own| own.cgroup.is_some());
        let forms = [(true, true), (true, false), (false, true), (false, false)];
        let mut refused = None;
        for (cgroup, bridge) in forms.into_iter().filter(|(cgroup, _)| has_group || !cgroup) {
            let form = Form { cgroup, bridge };
            match self.socket.transact(&transaction(wanted, form)) {
                Ok(()) => return Ok(form),
                Err(error) if is_lack(&error) => refused = Some(error),
                Err(error) => return Err(kernel("write")(error)),
            }
        }
        let source = refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into());
        let what = "it has no nftables for both families of addresses";
        Err(IsolationError::Unsupported { what, source })
    }

    /// What of the table is not as it was applied; `None`: all of it is.
    pub fn difference(
        &mut self,
        wanted: &Wanted,
        form: Form,
    ) -> Result<Option<String>, IsolationError> {
        for part in parts(wanted, form) {
            if let Some(what) = self.part_differs(wanted, &part).map_err(kernel("read"))? {
                let family = if part.family == BRIDGE {
                    "bridge"
                } else {
                    "inet"
                };
                return Ok(Some(format!("{family}: {what}")));
            }
        }
        Ok(None)
    }

    /// Packets that were dropped since the table was written.
    pub fn dropped(&mut self) -> Result<u64, IsolationError> {
        let rules = self.rules(INET).map_err(kernel("read"))?;
        let counts = rules
            .iter()
            .filter_map(|rule| counted(find(rule, RULE_EXPRESSIONS)?));
        Ok(counts.fold(0, u64::saturating_add))
    }

    /// Whether there is a table of that name, in force or not.
    pub fn exists(&mut self) -> Result<bool, IsolationError> {
        let inet = self.table(INET).map_err(kernel("read"))?;
        let bridge = self.table(BRIDGE).map_err(kernel("read"))?;
        Ok(inet.is_some() || bridge.is_some())
    }

    /// Takes the table away and reads back that it is gone.
    pub fn remove(&mut self) -> Result<(), IsolationError> {
        let mut gone = Vec::new();
        for family in [INET, BRIDGE] {
            if self.table(family).map_err(kernel("read"))?.is_some() {
                gone.push(delete(family));
            }
        }
        match self.socket.transact(&gone) {
            // Somebody else was faster with a part of it.
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                for one in &gone {
                    drop(self.socket.transact(std::slice::from_ref(one)));
                }
            }
            done => done.map_err(kernel("remove"))?,
        }
        if self.exists()? {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(kernel("remove")(source));
        }
        Ok(())
    }

    fn part_differs(&mut self, wanted: &Wanted, part: &Part) -> io::Result<Option<String>> {
        let Some(table) = self.table(part.family)? else {
            return Ok(Some("the table is gone".to_owned()));
        };
        // Chains and the set; a chain of somebody else's in it counts.
        let uses = u32::try_from(part.chains.len())
            .unwrap_or(0)
            .saturating_add(1);
        if !holds(
            &table,
            &[
                Attribute::number(TABLE_FLAGS, 0),
                Attribute::number(TABLE_USE, uses),
            ],
        ) {
            return Ok(Some("the table has other parts".to_owned()));
        }
        for chain in &part.chains {
            let asked = Message {
                kind: GET_CHAIN,
                flags: 0,
                family: part.family,
                attributes: vec![
                    Attribute::text(CHAIN_TABLE, TABLE),
                    Attribute::text(CHAIN_NAME, chain.name),
                ],
            };
            let found = self.socket.ask(&asked)?;
            if !found.is_some_and(|found| holds(&found, &chain_attributes(chain))) {
                return Ok(Some(format!("the chain {} is another", chain.name)));
            }
        }
        let rules = self.rules(part.family)?;
        for chain in &part.chains {
            let of_chain = rules
                .iter()
                .filter(|rule| name(rule, RULE_CHAIN) == chain.name.as_bytes());
            let same = of_chain.clone().count() == chain.rules.len()
                && of_chain
                    .zip(&chain.rules)
                    .all(|(found, rule)| holds(found, &[expressions(rule)]));
            if !same {
                return Ok(Some(format!(
                    "the rules of the chain {} are others",
                    chain.name
                )));
            }
        }
        self.elements_differ(wanted, part)
    }

    fn elements_differ(&mut self, wanted: &Wanted, part: &Part) -> io::Result<Option<String>> {
        let left = wanted.until.map(crate::Deadline::left);
        if left.is_some_and(|left| left < NEARLY_OVER) {
            return Ok(None);
        }
        let asked = Message {
            kind: GET_ELEMENT,
            flags: 0,
            family: part.family,
            attributes: vec![
                Attribute::text(ELEMENTS_TABLE, TABLE),
                Attribute::text(ELEMENTS_SET, IN_FORCE),
            ],
        };
        let found = self.socket.dump(&asked)?;
        let mut elements = Vec::new();
        for list in found.iter().filter_map(|found| find(found, ELEMENTS)) {
            for (_, element) in decode(list) {
                let key = find(element, ELEMENT_KEY).and_then(|key| find(key, DATA_VALUE));
                elements.push((key.unwrap_or_default().to_vec(), expiration(element)));
            }
        }
        elements.sort();
        let keys = elements.iter().map(|(key, _)| key.as_slice());
        if !keys.eq(part.elements.iter().map(std::slice::from_ref)) {
            return Ok(Some("what keeps it in force is gone".to_owned()));
        }
        let ends = elements.iter().all(|(_, found)| is_near(*found, left));
        Ok((!ends).then(|| "it would end at another time".to_owned()))
    }

    fn table(&mut self, family: u8) -> io::Result<Option<Vec<u8>>> {
        let asked = Message {
            kind: GET_TABLE,
            flags: 0,
            family,
            attributes: vec![Attribute::text(TABLE_NAME, TABLE)],
        };
        self.socket.ask(&asked)
    }

    fn rules(&mut self, family: u8) -> io::Result<Vec<Vec<u8>>> {
        let asked = Message {
            kind: GET_RULE,
            flags: 0,
            family,
            attributes: vec![Attribute::text(RULE_TABLE, TABLE)],
        };
        let mut rules = self.socket.dump(&asked)?;
        rules.retain(|rule| name(rule, RULE_TABLE) == TABLE.as_bytes());
        Ok(rules)
    }
}

/// Everything that puts the table in force, whatever is there now.
fn transaction(wanted: &Wanted, form: Form) -> Vec<Message> {
    let parts = parts(wanted, form);
    parts
        .iter()
        .flat_map(|part| replace(wanted, part))
        .collect()
}

fn replace(wanted: &Wanted, part: &Part) -> Vec<Message> {
    let family = part.family;
    // The first makes sure that there is something to delete.
    let mut messages = vec![create(family), delete(family), create(family)];
    let message = |kind, flags, attributes| Message {
        kind,
        flags,
        family,
        attributes,
    };
    messages.push(message(NEW_SET, CREATE, set_attributes()));
    messages.push(message(
        NEW_ELEMENT,
        CREATE,
        element_attributes(wanted, part),
    ));
    for chain in &part.chains {
        let mut attributes = chain_attributes(chain);
        attributes.push(Attribute::text(CHAIN_TABLE, TABLE));
        messages.push(message(NEW_CHAIN, CREATE, attributes));
        for rule in &chain.rules {
            let attributes = vec![
                Attribute::text(RULE_TABLE, TABLE),
                Attribute::text(RULE_CHAIN, chain.name),
                expressions(rule),
            ];
            messages.push(message(NEW_RULE, CREATE | APPEND, attributes));
        }
    }
    messages
}

fn create(family: u8) -> Message {
    Message {
        kind: NEW_TABLE,
        flags: CREATE,
        family,
        attributes: vec![
            Attribute::text(TABLE_NAME, TABLE),
            Attribute::number(TABLE_FLAGS, 0),
        ],
    }
}

fn delete(family: u8) -> Message {
    Message {
        kind: DELETE_TABLE,
        flags: 0,
        family,
        attributes: vec![Attribute::text(TABLE_NAME, TABLE)],
    }
}

fn set_attributes() -> Vec<Attribute> {
    vec![
        Attribute::text(SET_TABLE, TABLE),
        Attribute::text(SET_NAME, IN_FORCE),
        Attribute::number(SET_FLAGS, SET_HAS_TIMEOUTS),
        Attribute::number(SET_KEY_TYPE, TYPE_FAMILY),
        Attribute::number(SET_KEY_LENGTH, 1),
        Attribute::number(SET_ID, 1),
    ]
}

fn element_attributes(wanted: &Wanted, part: &Part) -> Vec<Attribute> {
    let left = wanted.until.map(|until| until.left().as_millis().max(1));
    let timeout =
        left.map(|left| Attribute::long(ELEMENT_TIMEOUT, u64::try_from(left).unwrap_or(u64::MAX)));
    let element = |key: &u8| {
        let key = Attribute::nest(ELEMENT_KEY, vec![Attribute::bytes(DATA_VALUE, &[*key])]);
        Attribute::nest(1, [key].into_iter().chain(timeout.clone()).collect())
    };
    vec![
        Attribute::text(ELEMENTS_TABLE, TABLE),
        Attribute::text(ELEMENTS_SET, IN_FORCE),
        Attribute::nest(ELEMENTS, part.elements.iter().map(element).collect()),
        Attribute::number(ELEMENTS_SET_ID, 1),
    ]
}

fn chain_attributes(chain: &Chain) -> Vec<Attribute> {
    let hook = vec![
        Attribute::number(HOOK_NUMBER, chain.hook),
        Attribute::bytes(HOOK_PRIORITY, &PRIORITY.to_be_bytes()),
    ];
    vec![
        Attribute::text(CHAIN_NAME, chain.name),
        Attribute::nest(CHAIN_HOOK, hook),
        Attribute::number(CHAIN_POLICY, POLICY_DROP),
        Attribute::text(CHAIN_TYPE, "filter"),
    ]
}

fn expressions(rule: &Rule) -> Attribute {
    let list = rule.iter().map(Expression::attribute).collect();
    Attribute::nest(RULE_EXPRESSIONS, list)
}

/// In milliseconds; `None`: never.
fn expiration(element: &[u8]) -> Option<u64> {
    let bytes = find(element, ELEMENT_EXPIRATION)?;
    Some(u64::from_be_bytes(*bytes.first_chunk()?))
}

/// The kernel's timers sleep with the host and are not slewed; a hundredth and some seconds are no difference.
fn is_near(found: Option<u64>, left: Option<Duration>) -> bool {
    match (found, left) {
        (None, None) => true,
        (Some(found), Some(left)) => {
            let found = Duration::from_millis(found);
            let slack = left.mul_f64(0.01).saturating_add(SLACK);
            found.abs_diff(left) <= slack
        }
        _ => false,
    }
}

/// Whether another form of the table may be taken where this one was not.
fn is_lack(error: &io::Error) -> bool {
    let lacks = [
        Errno::NOENT,
        Errno::OPNOTSUPP,
        Errno::AFNOSUPPORT,
        Errno::PROTONOSUPPORT,
        Errno::INVAL,
        Errno::NOSYS,
    ];
    lacks
        .iter()
        .any(|lack| error.raw_os_error() == Some(lack.raw_os_error()))
}

fn kernel(operation: &'static str) -> impl Fn(io::Error) -> IsolationError {
    move |source| IsolationError::Kernel { operation, source }
}

/// An isolation that ends so soon is not compared any more: its elements are about to go.
const NEARLY_OVER: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_secs(3);
/// Behind connection tracking, before everything that filters.
const PRIORITY: i32 = -100;
const POLICY_DROP: u32 = 0;
const SET_HAS_TIMEOUTS: u32 = 0x10;
/// How programs show the keys: `ipv4`, `ipv6`.
const TYPE_FAMILY: u32 = 2;

const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_USE: u16 = 3;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_ID: u16 = 10;
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENTS_SET_ID: u16 = 4;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;
const ELEMENT_EXPIRATION: u16 = 5;
const DATA_VALUE: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_drifts_is_no_difference_and_another_end_is() {
        let hours = |n: u64| Duration::from_hours(n);
        let found = |left: Duration| u64::try_from(left.as_millis()).ok();
        assert!(is_near(None, None));
        assert!(is_near(
            found(hours(4) + Duration::from_secs(100)),
            Some(hours(4))
        ));
        assert!(!is_near(found(hours(5)), Some(hours(4))));
        assert!(!is_near(None, Some(hours(4))));
        assert!(!is_near(found(hours(4)), None));
    }
}
