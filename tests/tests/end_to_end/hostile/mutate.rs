//! Every field of a message, each in every way it can be wrong. The schema says which fields there are, so that none is forgotten.

use std::path::Path;

use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use super::wire::{self, Field, Value};

/// A message with one thing wrong, and what that is.
pub(crate) struct Mutant {
    pub(crate) what: String,
    pub(crate) bytes: Vec<u8>,
}

/// The schema, as it stands in the sources.
pub(crate) struct Schema(DescriptorPool);

impl Schema {
    pub(crate) fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/schema");
        let files = ["batch", "agent"].map(|name| format!("picket/v1/{name}.proto"));
        let set = protox::compile(files, [folder]).expect("the schema compiles");
        Self(DescriptorPool::from_file_descriptor_set(set).expect("the schema is whole"))
    }

    /// All mutants of an honest message, and of the messages in it down to `depth`.
    pub(crate) fn mutants(&self, name: &str, honest: &[u8], depth: u32) -> Vec<Mutant> {
        let of = self.0.get_message_by_name(&format!("picket.v1.{name}"));
        let of = of.expect("the schema has this message");
        let tree = wire::parse(honest, &of);
        let mut mutants: Vec<Mutant> = mutated(&of, &tree, depth)
            .into_iter()
            .map(|(what, tree)| Mutant {
                what: format!("{name}.{what}"),
                bytes: wire::encode(&tree),
            })
            .collect();
        mutants.extend(broken(name, honest));
        mutants
    }
}

/// What is wrong with the message as a whole.
fn broken(name: &str, honest: &[u8]) -> Vec<Mutant> {
    let with = |tail: &[u8]| [honest, tail].concat();
    let mut overlong = with(&[]);
    wire::put(&mut overlong, 500 << 3);
    overlong.extend([0xff; 10]);
    let of = |what: &str, bytes: Vec<u8>| Mutant {
        what: format!("{name}: {what}"),
        bytes,
    };
    vec![
        of("empty", Vec::new()),
        of("cut in the middle", honest[..honest.len() / 2].to_vec()),
        of("twice", [honest, honest].concat()),
        of("an unknown field", with(&[0xa2, 0x1f, 3, 1, 2, 3])),
        of("field number zero", with(&[0x00, 0x01])),
        of("a group without an end", with(&[0xa3, 0x1f])),
        of("wire type 7", with(&[0xa7, 0x1f])),
        of("a varint without an end", overlong),
        of(
            "a length beyond the end",
            with(&[0xa2, 0x1f, 0xff, 0xff, 0xff, 0x7f]),
        ),
        of(
            "noise",
            (0..997_u32)
                .map(|n| n.wrapping_mul(131).to_le_bytes()[0])
                .collect(),
        ),
    ]
}

fn mutated(of: &MessageDescriptor, tree: &[Field], depth: u32) -> Vec<(String, Vec<Field>)> {
    let mut all = Vec::new();
    for field in of.fields() {
        let number = field.number();
        let (own, others): (Vec<Field>, Vec<Field>) =
            tree.iter().cloned().partition(|one| one.number == number);
        let mut add = |what: &str, fields: Vec<Field>| {
            let tree = [others.clone(), fields].concat();
            all.push((format!("{}: {what}", field.name()), tree));
        };
        for (what, values) in variants(&field, &own) {
            let fields = values.into_iter().map(|value| Field { number, value });
            add(what, fields.collect());
        }
        let Kind::Message(inner) = field.kind() else {
            continue;
        };
        if depth == 0 {
            continue;
        }
        let honest = own.iter().find_map(|one| match &one.value {
            Value::Message(fields) => Some(fields.clone()),
            _ => None,
        });
        for (what, fields) in mutated(&inner, &honest.unwrap_or_default(), depth - 1) {
            let value = Value::Message(fields);
            let whole = [others.clone(), vec![Field { number, value }]].concat();
            all.push((format!("{}.{what}", field.name()), whole));
        }
    }
    all
}

/// What can stand in place of a field.
fn variants(field: &FieldDescriptor, own: &[Field]) -> Vec<(&'static str, Vec<Value>)> {
    let first = own.first().map(|one| one.value.clone());
    let one = |value: Value| vec![value];
    let mut all = vec![("missing", Vec::new())];
    let sample = match field.kind() {
        Kind::String | Kind::Bytes => {
            let honest = match &first {
                Some(Value::Bytes(bytes)) => bytes.clone(),
                _ => vec![b'x'; 16],
            };
            all.extend(lengths(&honest).map(|(what, bytes)| (what, one(Value::Bytes(bytes)))));
            all.push(("a number", one(Value::Varint(7))));
            Value::Bytes(honest)
        }
        Kind::Message(_) => {
            all.push(("empty", one(Value::Message(Vec::new()))));
            all.push(("noise", one(Value::Bytes(vec![0xff; 40]))));
            all.push(("a number", one(Value::Varint(7))));
            first.clone().unwrap_or(Value::Message(Vec::new()))
        }
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => {
            for (what, bytes) in [
                ("zero", [0; 8]),
                ("all ones", [0xff; 8]),
                ("huge", [0xee; 8]),
            ] {
                all.push((what, one(Value::Eight(bytes))));
            }
            let nan = f64::NAN.to_le_bytes();
            all.push(("no number", one(Value::Eight(nan))));
            all.push(("a varint", one(Value::Varint(7))));
            first.clone().unwrap_or(Value::Eight([1; 8]))
        }
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => {
            all.push(("all ones", one(Value::Four([0xff; 4]))));
            first.clone().unwrap_or(Value::Four([1; 4]))
        }
        _ => {
            for (what, number) in NUMBERS {
                all.push((*what, one(Value::Varint(*number))));
            }
            all.push(("bytes", one(Value::Bytes(vec![1; 32]))));
            first.clone().unwrap_or(Value::Varint(1))
        }
    };
    all.push(("twice", vec![sample.clone(), sample.clone()]));
    all.push(("a thousand times", vec![sample; 1_000]));
    let mut endless = Vec::new();
    wire::put(&mut endless, u64::from(field.number()) << 3);
    endless.extend([0x80; 11]);
    all.push(("a varint without an end", one(Value::Literal(endless))));
    all
}

fn lengths(honest: &[u8]) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let shorter = honest[..honest.len().saturating_sub(1)].to_vec();
    let longer = [honest, &[1]].concat();
    let flipped = honest.iter().map(|byte| byte ^ 0x55).collect();
    [
        ("empty", Vec::new()),
        ("shorter", shorter),
        ("longer", longer),
        ("zeros", vec![0; honest.len()]),
        ("other bytes", flipped),
        ("no text", vec![0xff, 0xfe, 0xc3, 0x28]),
        ("control characters", b"a\0b\n\x1b[2J".to_vec()),
        ("huge", vec![b'A'; HUGE]),
    ]
    .into_iter()
}

/// Numbers at the edges of every type.
const NUMBERS: &[(&str, u64)] = &[
    ("zero", 0),
    ("one", 1),
    ("an unknown value", 9_999),
    ("the largest of 31 bits", 0x7fff_ffff),
    ("the largest of 32 bits", 0xffff_ffff),
    ("the largest of 63 bits", 0x7fff_ffff_ffff_ffff),
    ("the smallest of 64 bits", 0x8000_0000_0000_0000),
    ("minus one", u64::MAX),
];

/// More than a header may have, less than a message.
const HUGE: usize = 300 << 10;
