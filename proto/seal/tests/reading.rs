//! What comes from outside is taken in its one form or refused with the reason, and secrets are not shown.

use picket_seal::{
    Digest, Domain, KeyId, PublicKey, SealError, Signature, SigningKey, enrolment_fingerprint,
    equal_in_constant_time, format_fingerprint, parse_fingerprint, random,
};
use proptest::{collection::vec, prelude::*};

#[test]
fn a_value_of_another_length_is_refused() {
    let wrong = |what, expected, got| SealError::WrongLength {
        what,
        expected,
        got,
    };
    for got in [0, 1, 7, 9, 31, 33, 63, 65, 1000] {
        let bytes = vec![5; got];
        assert_eq!(Digest::from_slice(&bytes), Err(wrong("digest", 32, got)));
        assert_eq!(
            PublicKey::from_slice(&bytes),
            Err(wrong("public key", 32, got))
        );
        assert_eq!(KeyId::from_slice(&bytes), Err(wrong("key id", 8, got)));
        assert_eq!(
            Signature::from_slice(&bytes),
            Err(wrong("signature", 64, got))
        );
    }
}

#[test]
fn a_private_key_survives_being_stored() {
    let key = SigningKey::generate().unwrap();
    let again = SigningKey::from_pkcs8(key.to_pkcs8()).unwrap();
    assert_eq!(again.public_key(), key.public_key());
    assert_eq!(
        again.sign(Domain::Command, b"x"),
        key.sign(Domain::Command, b"x")
    );
}

#[test]
fn a_damaged_private_key_is_refused_at_every_byte() {
    let key = SigningKey::generate().unwrap();
    for at in 0..key.to_pkcs8().len() {
        let mut document = key.to_pkcs8().to_vec();
        document[at] ^= 0x55;
        let refused = SigningKey::from_pkcs8(&document);
        assert!(
            matches!(refused, Err(SealError::PrivateKey { .. })),
            "byte {at}"
        );
        let torn = SigningKey::from_pkcs8(&key.to_pkcs8()[..at]);
        assert!(
            matches!(torn, Err(SealError::PrivateKey { .. })),
            "torn at {at}"
        );
    }
}

#[test]
fn a_private_key_is_never_printed() {
    let key = SigningKey::generate().unwrap();
    let shown = format!("{key:?}");
    assert_eq!(shown, format!("SigningKey({})", key.public_key().key_id()));
}

#[test]
fn a_fingerprint_is_read_as_it_is_written() {
    let fingerprint = enrolment_fingerprint(b"ca", b"root");
    let text = format_fingerprint(&fingerprint);
    assert_eq!(parse_fingerprint(&text), Ok(fingerprint));
    assert_eq!(
        parse_fingerprint(&text.to_uppercase().replace("SHA256", "sha256")),
        Ok(fingerprint)
    );
}

#[test]
fn a_fingerprint_in_any_other_form_is_refused() {
    let digits = "ab".repeat(32);
    for text in [
        "",
        "sha256",
        &digits,
        &format!("SHA256:{digits}"),
        &format!(" sha256:{digits}"),
    ] {
        assert_eq!(
            parse_fingerprint(text),
            Err(SealError::FingerprintScheme),
            "{text}"
        );
    }
    for digits in [
        "",
        "ab",
        "ab".repeat(31).as_str(),
        &format!("{digits}a"),
        &format!("{digits}ab"),
        &"é".repeat(32),
    ] {
        let refused = parse_fingerprint(&format!("sha256:{digits}"));
        assert!(matches!(refused, Err(SealError::NotHex { .. })), "{digits}");
    }
}

#[test]
fn a_fingerprint_does_not_move_bytes_from_one_anchor_to_the_other() {
    assert_ne!(
        enrolment_fingerprint(b"ab", b"c"),
        enrolment_fingerprint(b"a", b"bc")
    );
    assert_ne!(
        enrolment_fingerprint(b"a", b""),
        enrolment_fingerprint(b"", b"a")
    );
}

#[test]
fn domains_differ_and_hold_no_zero_byte() {
    let mut prefixes = Domain::ALL.map(Domain::prefix).to_vec();
    assert!(prefixes.iter().all(|prefix| !prefix.contains('\0')));
    prefixes.sort_unstable();
    prefixes.dedup();
    assert_eq!(prefixes.len(), Domain::ALL.len());
}

#[test]
fn random_values_differ() {
    assert_ne!(random::<16>().unwrap(), random::<16>().unwrap());
    assert_ne!(random::<32>().unwrap(), [0; 32]);
}

proptest! {
    #[test]
    fn comparing_secrets_says_whether_they_are_equal(a in vec(any::<u8>(), 0..80), b in vec(any::<u8>(), 0..80)) {
        prop_assert!(equal_in_constant_time(&a, &a.clone()));
        prop_assert_eq!(equal_in_constant_time(&a, &b), a == b);
    }

    #[test]
    fn a_digest_is_read_as_it_is_written(bytes: [u8; 32]) {
        let digest = Digest(bytes);
        prop_assert_eq!(Digest::from_hex(&digest.to_string()), Ok(digest));
        prop_assert_eq!(Digest::from_slice(digest.as_bytes()), Ok(digest));
    }

    #[test]
    fn no_text_or_bytes_panic(text: String, bytes: Vec<u8>) {
        prop_assert!(Digest::from_hex(&text).is_err() || text.len() == 64);
        prop_assert!(parse_fingerprint(&text).is_err());
        prop_assert!(SigningKey::from_pkcs8(&bytes).is_err());
    }
}
