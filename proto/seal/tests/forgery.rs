//! Nothing that was changed, moved to another purpose or signed by another key is taken.

use picket_seal::{
    Digest, Domain, Payload, PublicKey, SealError, Signature, SigningKey, header_hash, seal_header,
    verify_header,
};
use proptest::{collection::vec, prelude::*, sample::Index};

/// One honest batch.
#[derive(Debug)]
struct Batch {
    public: PublicKey,
    header: Vec<u8>,
    payload: Vec<u8>,
    payload_hash: Digest,
    signature: Signature,
}

impl Batch {
    fn seal(header: Vec<u8>, payload: Vec<u8>) -> Self {
        let key = SigningKey::generate().expect("the kernel gives random bytes");
        Self {
            public: key.public_key(),
            payload_hash: Digest::of(&payload),
            signature: seal_header(&key, &header),
            header,
            payload,
        }
    }

    fn verify(&self) -> Result<Digest, SealError> {
        let payload = Payload::Present(&self.payload);
        verify_header(
            &self.public,
            &self.header,
            &self.signature,
            payload,
            &self.payload_hash,
        )
    }

    fn verify_without_payload(&self) -> Result<Digest, SealError> {
        let dropped = Payload::Dropped;
        verify_header(
            &self.public,
            &self.header,
            &self.signature,
            dropped,
            &self.payload_hash,
        )
    }

    fn signature_differs(&self) -> SealError {
        SealError::SignatureDiffers {
            domain: Domain::BatchHeader,
            key: self.public.key_id(),
        }
    }
}

fn batches() -> impl Strategy<Value = Batch> {
    (vec(any::<u8>(), 0..600), vec(any::<u8>(), 1..2000))
        .prop_map(|(header, payload)| Batch::seal(header, payload))
}

fn flip_a_bit(bytes: &mut [u8], at: Index) {
    let bit = at.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

proptest! {
    #[test]
    fn an_honest_batch_is_taken(batch in batches()) {
        prop_assert_eq!(batch.verify(), Ok(header_hash(&batch.header)));
        prop_assert_eq!(batch.verify_without_payload(), Ok(header_hash(&batch.header)));
    }

    #[test]
    fn a_header_with_a_flipped_bit_is_refused(mut batch in batches(), at: Index) {
        prop_assume!(!batch.header.is_empty());
        flip_a_bit(&mut batch.header, at);
        prop_assert_eq!(batch.verify(), Err(batch.signature_differs()));
    }

    #[test]
    fn a_header_with_more_or_fewer_bytes_is_refused(mut batch in batches(), more: bool) {
        if more || batch.header.pop().is_none() {
            batch.header.push(0);
        }
        prop_assert_eq!(batch.verify(), Err(batch.signature_differs()));
    }

    #[test]
    fn a_payload_with_a_flipped_bit_is_refused(mut batch in batches(), at: Index) {
        flip_a_bit(&mut batch.payload, at);
        let (expected, got) = (batch.payload_hash, Digest::of(&batch.payload));
        prop_assert_eq!(batch.verify(), Err(SealError::PayloadDiffers { expected, got }));
    }

    #[test]
    fn a_signature_with_a_flipped_bit_is_refused(mut batch in batches(), at: Index) {
        flip_a_bit(&mut batch.signature.0, at);
        prop_assert_eq!(batch.verify(), Err(batch.signature_differs()));
        prop_assert_eq!(batch.verify_without_payload(), Err(batch.signature_differs()));
    }

    #[test]
    fn any_other_signature_is_refused(mut batch in batches(), bytes in vec(any::<u8>(), 64)) {
        batch.signature = Signature::from_slice(&bytes).unwrap();
        prop_assert_eq!(batch.verify(), Err(batch.signature_differs()));
    }

    #[test]
    fn another_key_is_refused(mut batch in batches()) {
        batch.public = SigningKey::generate().unwrap().public_key();
        prop_assert_eq!(batch.verify(), Err(batch.signature_differs()));
    }

    #[test]
    fn any_bytes_as_a_public_key_are_refused(mut batch in batches(), bytes in vec(any::<u8>(), 32)) {
        batch.public = PublicKey::from_slice(&bytes).unwrap();
        prop_assert_eq!(batch.verify(), Err(batch.signature_differs()));
    }
}

/// Every bit of one batch, so that no position is left to chance.
#[test]
fn no_single_bit_can_change() {
    let mut batch = Batch::seal(b"a header".to_vec(), b"a payload".to_vec());
    for bit in 0..batch.header.len() * 8 {
        batch.header[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            batch.verify(),
            Err(batch.signature_differs()),
            "header bit {bit}"
        );
        batch.header[bit / 8] ^= 1 << (bit % 8);
    }
    for bit in 0..batch.payload.len() * 8 {
        batch.payload[bit / 8] ^= 1 << (bit % 8);
        assert!(
            matches!(batch.verify(), Err(SealError::PayloadDiffers { .. })),
            "payload bit {bit}"
        );
        batch.payload[bit / 8] ^= 1 << (bit % 8);
    }
    for bit in 0..64 * 8 {
        batch.signature.0[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            batch.verify(),
            Err(batch.signature_differs()),
            "signature bit {bit}"
        );
        batch.signature.0[bit / 8] ^= 1 << (bit % 8);
    }
    batch.verify().expect("every bit was put back");
}

#[test]
fn an_empty_payload_is_refused_unless_it_was_dropped() {
    let batch = Batch::seal(b"a header".to_vec(), Vec::new());
    assert_eq!(batch.verify(), Err(SealError::PayloadMissing));
    assert_eq!(
        batch.verify_without_payload(),
        Ok(header_hash(&batch.header))
    );
}

#[test]
fn a_signature_counts_in_its_own_domain_only() {
    let key = SigningKey::generate().unwrap();
    for signed in Domain::ALL {
        let signature = key.sign(signed, b"some bytes");
        for asked in Domain::ALL {
            let verified = key.public_key().verify(asked, b"some bytes", &signature);
            assert_eq!(
                verified.is_ok(),
                signed == asked,
                "{signed} taken for {asked}"
            );
        }
    }
}

#[test]
fn the_zero_byte_keeps_prefix_and_bytes_apart() {
    let message = Domain::Token.message(b"x");
    assert_eq!(message, b"picket/token/v1\0x");
    assert_eq!(Digest::of(&message), Digest::of_domain(Domain::Token, b"x"));
}

/// With a key of small order and a signature made without any private key, plain Ed25519 verification
/// says yes to every message. Whoever brought such a key could later deny what it signed.
#[test]
fn keys_that_anybody_can_sign_for_are_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signed_by_nobody = [0; 64];
    signed_by_nobody[..32].copy_from_slice(&neutral);

    let plain = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, neutral);
    assert!(plain.verify(b"any message", &signed_by_nobody).is_ok());

    assert_eq!(
        PublicKey::from_slice(&neutral),
        Err(SealError::WeakPublicKey)
    );
    for y in SMALL_ORDER {
        for sign_of_x in ["", "with sign"] {
            let mut key = hex::decode(y).unwrap();
            key[31] |= if sign_of_x.is_empty() { 0 } else { 0x80 };
            assert_eq!(
                PublicKey::from_slice(&key),
                Err(SealError::WeakPublicKey),
                "{y} {sign_of_x}"
            );
        }
    }
}

const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];
