//! Protobuf as bytes on the wire: a message as a tree that can say what no typed message can.

use protox::prost_reflect::{Kind, MessageDescriptor};

/// One field as it stands on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) value: Value,
}

/// What a field holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Varint(u64),
    Eight([u8; 8]),
    Four([u8; 4]),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
    /// These bytes in place of the whole field, its tag included.
    Literal(Vec<u8>),
}

/// The tree of a well-formed message.
pub(crate) fn parse(mut bytes: &[u8], of: &MessageDescriptor) -> Vec<Field> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let number = u32::try_from(tag >> 3).expect("a field number");
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut bytes)),
            1 => Value::Eight(take(&mut bytes, 8).try_into().expect("eight bytes")),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("a length");
                let inner = take(&mut bytes, length);
                match of.get_field(number).map(|field| field.kind()) {
                    Some(Kind::Message(of)) => Value::Message(parse(inner, &of)),
                    _ => Value::Bytes(inner.to_vec()),
                }
            }
            5 => Value::Four(take(&mut bytes, 4).try_into().expect("four bytes")),
            other => panic!("wire type {other} in an honest message"),
        };
        fields.push(Field { number, value });
    }
    fields
}

/// Its bytes.
pub(crate) fn encode(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        let tag = |wire: u64| u64::from(field.number) << 3 | wire;
        match &field.value {
            Value::Varint(number) => {
                put(&mut out, tag(0));
                put(&mut out, *number);
            }
            Value::Eight(bytes) => {
                put(&mut out, tag(1));
                out.extend(bytes);
            }
            Value::Four(bytes) => {
                put(&mut out, tag(5));
                out.extend(bytes);
            }
            Value::Bytes(bytes) => delimited(&mut out, tag(2), bytes),
            Value::Message(fields) => delimited(&mut out, tag(2), &encode(fields)),
            Value::Literal(bytes) => out.extend(bytes),
        }
    }
    out
}

fn delimited(out: &mut Vec<u8>, tag: u64, bytes: &[u8]) {
    put(out, tag);
    put(out, bytes.len() as u64);
    out.extend(bytes);
}

/// Appends a varint.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f | 0x80).expect("a byte"));
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("a byte"));
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}
