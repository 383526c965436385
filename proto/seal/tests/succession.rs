//! Each epoch's key is vouched for by the one before it, once.

use picket_seal::{
    Accepted, Domain, PublicKey, SealError, Signature, SigningKey, SuccessionChain, SuccessionError,
};
use proptest::prelude::*;

/// A host's keys, and a chain that has taken all of them.
struct Host {
    keys: Vec<SigningKey>,
    chain: SuccessionChain,
}

impl Host {
    fn with_epochs(latest: u64) -> Self {
        let first = new_key();
        let mut host = Self {
            chain: SuccessionChain::new(first.public_key()),
            keys: vec![first],
        };
        for epoch in 1..=latest {
            host.rotate(epoch);
        }
        host
    }

    fn rotate(&mut self, epoch: u64) {
        let next = new_key();
        let (body, signature) = vouch(
            self.keys.last().expect("a host has a first key"),
            epoch,
            next.public_key(),
        );
        let accepted = self
            .chain
            .accept(epoch, next.public_key(), &body, &signature);
        assert_eq!(accepted, Ok(Accepted::New));
        self.keys.push(next);
    }
}

fn new_key() -> SigningKey {
    SigningKey::generate().expect("the kernel gives random bytes")
}

/// Stands for the encoded body: the chain never looks inside.
fn vouch(signer: &SigningKey, epoch: u64, public: PublicKey) -> (Vec<u8>, Signature) {
    let body = [&epoch.to_le_bytes(), public.as_bytes().as_slice()].concat();
    let signature = signer.sign(Domain::Succession, &body);
    (body, signature)
}

#[test]
fn keys_are_kept_by_epoch() {
    let host = Host::with_epochs(5);
    assert_eq!(host.chain.latest_epoch(), 5);
    for (epoch, key) in (0..).zip(&host.keys) {
        assert_eq!(host.chain.key(epoch), Some(key.public_key()));
    }
    assert_eq!(host.chain.key(6), None);
    assert_eq!(host.chain.key(u64::MAX), None);
    assert_eq!(
        host.chain.host_id(),
        Some(host.keys[0].public_key().host_id())
    );
}

#[test]
fn a_redelivered_succession_changes_nothing() {
    let mut host = Host::with_epochs(3);
    let before = host.chain.clone();
    let public = host.keys[2].public_key();
    let (body, signature) = vouch(&host.keys[1], 2, public);
    assert_eq!(
        host.chain.accept(2, public, &body, &signature),
        Ok(Accepted::Known)
    );
    assert_eq!(host.chain, before);
}

#[test]
fn only_the_key_of_the_epoch_before_can_vouch() {
    let mut host = Host::with_epochs(2);
    let before = host.chain.clone();
    let next = new_key();
    for signer in [&host.keys[0], &host.keys[1], &next] {
        let (body, signature) = vouch(signer, 3, next.public_key());
        let refused = host.chain.accept(3, next.public_key(), &body, &signature);
        let key = host.keys[2].public_key().key_id();
        let source = SealError::SignatureDiffers {
            domain: Domain::Succession,
            key,
        };
        assert_eq!(
            refused,
            Err(SuccessionError::NotSigned { epoch: 3, source })
        );
    }
    assert_eq!(host.chain, before);
}

#[test]
fn a_skipped_epoch_is_refused() {
    let mut host = Host::with_epochs(1);
    let next = new_key();
    let (body, signature) = vouch(&host.keys[1], 3, next.public_key());
    let refused = host.chain.accept(3, next.public_key(), &body, &signature);
    assert_eq!(
        refused,
        Err(SuccessionError::EpochSkipped {
            expected: 2,
            got: 3
        })
    );
}

#[test]
fn the_first_key_has_no_predecessor() {
    let mut host = Host::with_epochs(1);
    let (body, signature) = vouch(&host.keys[0], 0, host.keys[1].public_key());
    let refused = host
        .chain
        .accept(0, host.keys[1].public_key(), &body, &signature);
    assert_eq!(
        refused,
        Err(SuccessionError::EpochTooOld { first: 1, got: 0 })
    );
}

/// A cloned machine, or a thief of the key, shows as two successors of one key.
#[test]
fn a_second_signed_successor_is_named_and_the_first_stays() {
    let mut host = Host::with_epochs(2);
    let clone = new_key();
    let (body, signature) = vouch(&host.keys[1], 2, clone.public_key());
    let known = host.keys[2].public_key();
    let two = SuccessionError::TwoSuccessors {
        epoch: 2,
        known: known.key_id(),
        got: clone.public_key().key_id(),
    };
    assert_eq!(
        host.chain.accept(2, clone.public_key(), &body, &signature),
        Err(two)
    );
    assert_eq!(host.chain.key(2), Some(known));
}

#[test]
fn a_second_successor_that_nobody_signed_accuses_nobody() {
    let mut host = Host::with_epochs(2);
    let stranger = new_key();
    let (body, signature) = vouch(&stranger, 2, stranger.public_key());
    let refused = host
        .chain
        .accept(2, stranger.public_key(), &body, &signature);
    assert!(matches!(
        refused,
        Err(SuccessionError::NotSigned { epoch: 2, .. })
    ));
}

#[test]
fn a_resumed_chain_goes_on_where_it_stood() {
    let host = Host::with_epochs(4);
    let mut resumed = SuccessionChain::resume(3, host.keys[3].public_key());
    let public = host.keys[4].public_key();
    let (body, signature) = vouch(&host.keys[3], 4, public);
    assert_eq!(
        resumed.accept(4, public, &body, &signature),
        Ok(Accepted::New)
    );
    assert_eq!((resumed.latest_epoch(), resumed.key(4)), (4, Some(public)));
    assert_eq!((resumed.key(2), resumed.host_id()), (None, None));
    let too_old = SuccessionError::EpochTooOld { first: 4, got: 3 };
    assert_eq!(resumed.accept(3, public, &body, &signature), Err(too_old));
}

#[test]
fn epochs_end_at_the_largest_number() {
    let mut last = SuccessionChain::resume(u64::MAX, new_key().public_key());
    let refused = last.accept(u64::MAX, new_key().public_key(), b"", &Signature([0; 64]));
    assert_eq!(
        refused,
        Err(SuccessionError::EpochsExhausted { latest: u64::MAX })
    );
}

proptest! {
    #[test]
    fn a_succession_with_a_flipped_bit_is_refused(bit in 0..(40 + 64) * 8usize) {
        let mut host = Host::with_epochs(1);
        let next = new_key().public_key();
        let (mut body, mut signature) = vouch(&host.keys[1], 2, next);
        let mask = 1 << (bit % 8);
        match body.get_mut(bit / 8) {
            Some(byte) => *byte ^= mask,
            None => signature.0[bit / 8 - 40] ^= mask,
        }
        let refused = host.chain.accept(2, next, &body, &signature);
        let not_signed = matches!(refused, Err(SuccessionError::NotSigned { .. }));
        prop_assert!(not_signed);
        prop_assert_eq!(host.chain.latest_epoch(), 1);
    }

    #[test]
    fn no_succession_panics(epoch: u64, first: u64, body: Vec<u8>) {
        let mut chain = SuccessionChain::resume(first, new_key().public_key());
        let signature = Signature([3; 64]);
        prop_assert!(chain.accept(epoch, new_key().public_key(), &body, &signature).is_err());
        prop_assert_eq!(chain.latest_epoch(), first);
    }
}
