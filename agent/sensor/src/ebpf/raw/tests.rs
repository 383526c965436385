//! Records from whole, short and hostile bytes.

use super::*;

/// A record as the kernel writes it.
fn record(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&[VERSION, 1]);
    bytes.extend_from_slice(&3_u32.to_ne_bytes());
    bytes.extend_from_slice(&flag::RESULT_KNOWN.to_ne_bytes());
    bytes.extend_from_slice(&7_u64.to_ne_bytes());
    bytes.extend_from_slice(&9_000_u64.to_ne_bytes());
    for number in 1..=4_u64 {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    for number in 10..24_u32 {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    bytes.extend_from_slice(b"comm\0\0\0\0\0\0\0\0\0\0\0\0");
    bytes.extend_from_slice(b"pts0\0\0\0\0\0\0\0\0\0\0\0\0");
    bytes.extend_from_slice(body);
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

fn memfd(name: &[u8], stated: u32) -> Vec<u8> {
    let mut body = 1_u32.to_ne_bytes().to_vec();
    body.extend_from_slice(&stated.to_ne_bytes());
    body.extend_from_slice(name);
    record(24, &body)
}

#[test]
fn a_whole_record_is_read() {
    let bytes = memfd(b"memfd:x", 7);
    let record = RawRecord::parse(&bytes).unwrap();
    assert_eq!((record.header.cpu, record.header.sequence), (3, 7));
    assert!(record.header.has(flag::RESULT_KNOWN));
    assert_eq!((record.actor.tgid, record.actor.ppid), (10, 12));
    assert_eq!(record.actor.namespaces, [19, 20, 21, 22]);
    assert_eq!(
        record.body,
        Body::Memfd {
            flags: 1,
            name: b"memfd:x"
        }
    );
}

#[test]
fn a_text_longer_than_the_record_is_an_error() {
    let bytes = memfd(b"memfd:x", u32::MAX);
    assert_eq!(RawRecord::parse(&bytes), Err(RawError::Short(bytes.len())));
}

#[test]
fn every_cut_is_an_error_and_no_panic() {
    let bytes = memfd(b"memfd:x", 7);
    for end in 0..bytes.len() {
        assert!(RawRecord::parse(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn another_version_or_kind_is_refused() {
    let mut bytes = memfd(b"", 0);
    bytes[6] += 1;
    assert_eq!(RawRecord::parse(&bytes), Err(RawError::Version(bytes[6])));
    assert_eq!(
        RawRecord::parse(&record(999, &[])),
        Err(RawError::Kind(999))
    );
    assert_eq!(
        RawRecord::parse(&record(0, &[0; 64])),
        Err(RawError::Kind(0))
    );
}

#[test]
fn random_bytes_behind_a_true_head_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let kinds = [1, 3, 4, 9, 10, 11, 12, 15, 16, 24];
    for round in 0..20_000_usize {
        let length = usize::try_from(next() % 400).unwrap();
        let body: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[0]).collect();
        let bytes = record(kinds[round % kinds.len()], &body);
        if let Ok(record) = RawRecord::parse(&bytes) {
            assert_eq!(record.header.length as usize, bytes.len());
        }
    }
}

#[test]
fn an_ipv4_address_in_ipv6_form_is_ipv4() {
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
    assert_eq!(
        address(AF_INET6, mapped),
        Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
    );
    assert_eq!(address(AF_INET, [0; 16]), None);
    assert_eq!(address(1, [1; 16]), None);
}
