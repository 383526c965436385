//! A chain takes its links once, in order and whole.

use picket_seal::{Chain, ChainError, Digest, Link, Position, header_hash};
use proptest::{collection::vec, prelude::*, sample::Index};

/// A link with the hash of the header it was read from.
type Header = (Link, Digest);

/// An honest history: one header per count.
fn history(counts: &[u64]) -> Vec<Header> {
    let mut chain = Chain::START;
    let mut headers = Vec::new();
    for count in counts {
        let link = chain.next_link(*count);
        let hash = header_hash(format!("{link:?}").as_bytes());
        assert_eq!(chain.advance(&link, hash), Ok(Position::Next));
        headers.push((link, hash));
    }
    headers
}

/// Where a receiver stands after the headers.
fn replay(headers: &[Header]) -> Chain {
    let mut chain = Chain::START;
    for (link, hash) in headers {
        assert_eq!(chain.advance(link, *hash), Ok(Position::Next));
    }
    chain
}

fn histories() -> impl Strategy<Value = Vec<Header>> {
    vec(1..5000u64, 2..40).prop_map(|counts| history(&counts))
}

proptest! {
    #[test]
    fn an_honest_history_is_taken_whole(counts in vec(1..5000u64, 1..40)) {
        let chain = replay(&history(&counts));
        prop_assert_eq!(chain.next_seq, counts.iter().sum::<u64>());
    }

    #[test]
    fn a_skipped_header_is_named(headers in histories(), at: Index, later: Index) {
        let at = at.index(headers.len() - 1);
        let later = at + 1 + later.index(headers.len() - at - 1);
        let mut chain = replay(&headers[..at]);
        let before = chain;
        let (link, hash) = headers[later];
        let skipped = ChainError::SequenceSkipped { expected: chain.next_seq, got: link.seq_first };
        prop_assert_eq!(chain.advance(&link, hash), Err(skipped));
        prop_assert_eq!(chain, before);
    }

    #[test]
    fn any_reordering_is_refused(headers in histories(), order in any::<Vec<Index>>()) {
        let mut shuffled = headers.clone();
        for (place, index) in order.iter().enumerate() {
            shuffled.swap(place % headers.len(), index.index(headers.len()));
        }
        prop_assume!(shuffled != headers);
        let mut chain = Chain::START;
        let all_taken = shuffled.iter().all(|(l, h)| chain.advance(l, *h) == Ok(Position::Next));
        prop_assert!(!all_taken);
    }

    #[test]
    fn a_header_that_came_before_moves_nothing(headers in histories(), at: Index) {
        let mut chain = replay(&headers);
        let before = chain;
        let (link, hash) = headers[at.index(headers.len())];
        prop_assert_eq!(chain.advance(&link, hash), Ok(Position::AlreadySeen));
        prop_assert_eq!(chain, before);
    }

    #[test]
    fn another_past_is_refused(headers in histories(), at: Index, past: [u8; 32]) {
        let at = at.index(headers.len());
        let mut chain = replay(&headers[..at]);
        let before = chain;
        prop_assume!(Digest(past) != before.head);
        let link = Link { prev_hash: Digest(past), ..headers[at].0 };
        let differs = ChainError::PrevHashDiffers { expected: before.head, got: Digest(past) };
        prop_assert_eq!(chain.advance(&link, headers[at].1), Err(differs));
        prop_assert_eq!(chain, before);
    }

    #[test]
    fn no_link_panics_or_moves_a_chain_backwards(
        next_seq: u64,
        seq_first: u64,
        count: u64,
        head: [u8; 32],
        prev_hash: [u8; 32],
    ) {
        let before = Chain { next_seq, head: Digest(head) };
        let mut chain = before;
        let link = Link { seq_first, count, prev_hash: Digest(prev_hash) };
        let moved = chain.advance(&link, Digest::ZERO) == Ok(Position::Next);
        prop_assert_eq!(moved, chain.next_seq > next_seq);
        prop_assert!(moved || chain == before);
    }
}

#[test]
fn a_link_that_overlaps_what_is_covered_is_refused() {
    let mut chain = replay(&history(&[10, 10]));
    let link = Link {
        seq_first: 15,
        count: 10,
        prev_hash: chain.head,
    };
    let back = ChainError::SequenceWentBack {
        expected: 20,
        got: 15,
        end: 25,
    };
    assert_eq!(chain.advance(&link, Digest::ZERO), Err(back));
}

#[test]
fn a_batch_without_numbers_is_refused() {
    let link = Chain::START.next_link(0);
    assert_eq!(
        Chain::START.check(&link),
        Err(ChainError::EmptyBatch { seq_first: 0 })
    );
}

#[test]
fn numbers_beyond_the_largest_are_refused() {
    let full = Chain {
        next_seq: u64::MAX,
        head: Digest::ZERO,
    };
    let overflow = ChainError::SequenceOverflow {
        seq_first: u64::MAX,
        count: 1,
    };
    assert_eq!(full.check(&full.next_link(1)), Err(overflow));
    assert_eq!(
        Chain::START.check(&Chain::START.next_link(u64::MAX)),
        Ok(Position::Next)
    );
}

#[test]
fn the_first_header_has_no_past() {
    let link = Link {
        prev_hash: Digest([7; 32]),
        ..Chain::START.next_link(1)
    };
    let differs = ChainError::PrevHashDiffers {
        expected: Digest::ZERO,
        got: Digest([7; 32]),
    };
    assert_eq!(Chain::START.check(&link), Err(differs));
}
