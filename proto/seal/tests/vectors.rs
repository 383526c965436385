//! Known answers. Made by another implementation (Python's `cryptography` and `hashlib`), from the text of
//! `docs/formats/evidence.md`, which cites them all.

use picket_seal::tree::{leaf_hash, node_hash, verify_inclusion};
use picket_seal::{
    Accepted, Chain, Digest, Domain, KeyId, Link, Payload, Position, PublicKey, Signature,
    SigningKey, SuccessionChain, enrolment_fingerprint, format_fingerprint, header_hash,
    seal_header, verify_header,
};

/// The private seed of epoch 0 (RFC 8032, test 1).
const SEED_0: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
/// Its public key.
const PUBLIC_0: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
/// The name of that key.
const KEY_ID_0: &str = "21fe31dfa154a261";
/// The host whose first event key it is.
const HOST_ID: &str = "21fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b9";
/// The private seed of epoch 1 (RFC 8032, test 2).
const SEED_1: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
/// Its public key.
const PUBLIC_1: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
/// The name of that key.
const KEY_ID_1: &str = "39f713d0a644253f";
/// Two events, one uncompressed zstd block.
const PAYLOAD_0: &str = concat!(
    "28b52ffd20421102000a20100118959aa08ea2acf3c318280132101092212a0b2f7573722f62696e2f69640a1e",
    "0801100118969aa08ea2acf3c3182801320c1093212a072f62696e2f7368",
);
/// SHA-256 of the payload.
const PAYLOAD_HASH_0: &str = "7b57296567eea0b3bc8d4684e0235b505dfdd9873f20198a5fadf7493dbb5101";
/// The first header of its class: numbers 0 and 1, epoch 0.
const HEADER_0: &str = concat!(
    "0a2021fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b91210000102030405060708",
    "090a0b0c0d0e0f1802280232200000000000000000000000000000000000000000000000000000000000000000",
    "3a207b57296567eea0b3bc8d4684e0235b505dfdd9873f20198a5fadf7493dbb51015a0821fe31dfa154a26162",
    "10101112131415161718191a1b1c1d1e1f68959aa08ea2acf3c318708080bc8ac9d213820105302e312e30",
);
/// What the next header names.
const HEADER_HASH_0: &str = "a3e4d9c58848db3106dbe87d7b199cb7b4c8c1e01d6da67ecafc038c7ab41a61";
/// By the key of epoch 0.
const SIGNATURE_0: &str = concat!(
    "70aacdbbe30a0fdf327ffa6b619eb58b7e03ce30c15e7d31ed59856823f1d0c0223fbe32b5f2a80ed145e8653c",
    "12d987b55a49b4230f056fcaaf00d780239d03",
);
/// Epoch 1 gets its key.
const SUCCESSION_BODY: &str = concat!(
    "0a2021fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b910011a203d4017c3e84389",
    "5a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c20959aa08ea2acf3c318",
);
/// By the key of epoch 0.
const SUCCESSION_SIGNATURE: &str = concat!(
    "1933fce8c61acac632bc9649f1257d6b1e9628061c55ca21a63542b7e1c25017ccaa2704b4376f6a697d11ffd5",
    "c8c40cd4f6e8564c0ac12b73cb74b89f0b710e",
);
/// One event.
const PAYLOAD_1: &str = concat!(
    "28b52ffd20263101000a240802100118979aa08ea2acf3c318280132121094212a0d2f7573722f62696e2f6375",
    "726c",
);
/// SHA-256 of the payload.
const PAYLOAD_HASH_1: &str = "57ac553ce51f791927874cf0cf7aac52e02251c33f4fff14583540b77603867c";
/// The second header: number 2, epoch 1.
const HEADER_1: &str = concat!(
    "0a2021fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b91210000102030405060708",
    "090a0b0c0d0e0f1802200228013220a3e4d9c58848db3106dbe87d7b199cb7b4c8c1e01d6da67ecafc038c7ab4",
    "1a613a2057ac553ce51f791927874cf0cf7aac52e02251c33f4fff14583540b77603867c50015a0839f713d0a6",
    "44253f6210101112131415161718191a1b1c1d1e1f68959aa08ea2acf3c318708080bc8ac9d213820105302e31",
    "2e30",
);
/// What the third would name.
const HEADER_HASH_1: &str = "5c77d4c1034da70906e1217bd221a51ed3160e4979bc7731f0a5ff6b67f0ac96";
/// By the key of epoch 1.
const SIGNATURE_1: &str = concat!(
    "adc54b232deb6564409aed4f17e9d808bf0bf14986f92e8e1b85b71505a1fca7ba5b3aaf172148619bcbb731cb",
    "639b3003fa600e45fde62d47e04a1f7e3fa702",
);
/// The first header in the tree of a log.
const LEAF_0: &str = "3c0932dd5b42095132b3de97d0ee27f0317a23b481d6975bba74dd4310634c9c";
/// The second.
const LEAF_1: &str = "f5aa7ae8f3d5bd685281cc657fb8fcb7b21f607826b454dd07fbadc42eb66939";
/// Over both.
const ROOT_2: &str = "35949110257a6d5d75689ae60483bc61a73c08b9fa590431cc0ce956e668e7df";
/// The first checkpoint of a collector, over both.
const CHECKPOINT_BODY: &str = concat!(
    "080110021a2035949110257a6d5d75689ae60483bc61a73c08b9fa590431cc0ce956e668e7df208080b1d3a1ac",
    "f3c3182a200000000000000000000000000000000000000000000000000000000000000000",
);
/// What the next checkpoint names.
const CHECKPOINT_HASH: &str = "b625269ae92a9d08ea39c3c7480a27325ae43c5377c0e97c0b58a5a6b15a7869";
/// By the key with the seed of epoch 1.
const CHECKPOINT_SIGNATURE: &str = concat!(
    "a245bccf09d2e3dc152171b3a7c7c97ee734af193efaf5da3267042979a328b1750d77ba090fd851541719ccee",
    "84065308a526f491dbc89ac900f63d6fce6201",
);
/// Over `example CA certificate` and `example trust root`.
const FINGERPRINT: &str = "9719138d834962292c5e1f12ae3f6ff47b41a77a79a839efa761cfbe014fc5c8";
/// Of the secret `example`.
const TOKEN_HASH: &str = "d1a7dc1c6a9c6f60eb59c4cd597e23842a1b084284fbead00193ef895b3ca07c";
/// Of the machine id `example`.
const BREAK_GLASS_HASH: &str = "3a9e165c88b42d36f36d97660bb317d6998982cd37ef7b12966bb508243e711c";
const MACHINE_ID_HASH: &str = "4273c36c95bcabf9c0c9327dfc2fc76290f66036a2c2a598c6e09506ac30bc20";

#[test]
fn keys_have_these_public_halves_and_names() {
    for (seed, public, id) in [(SEED_0, PUBLIC_0, KEY_ID_0), (SEED_1, PUBLIC_1, KEY_ID_1)] {
        let key = signing_key(seed, public).public_key();
        assert_eq!(hex::encode(key.as_bytes()), public);
        assert_eq!(key.key_id().to_string(), id);
        assert_eq!(key.key_id(), KeyId::from_slice(&bytes(id)).unwrap());
    }
}

#[test]
fn two_headers_make_this_tree_and_this_checkpoint() {
    let leaves = [HEADER_HASH_0, HEADER_HASH_1].map(|hash| leaf_hash(&digest(hash)));
    assert_eq!(leaves, [LEAF_0, LEAF_1].map(digest));
    let [left, right] = leaves;
    assert_eq!(node_hash(&left, &right), digest(ROOT_2));
    assert_eq!(
        verify_inclusion(&right, 1, 2, &[left], &digest(ROOT_2)),
        Ok(())
    );
    let body = bytes(CHECKPOINT_BODY);
    let hash = Digest::of_domain(Domain::Checkpoint, &body);
    assert_eq!(hash, digest(CHECKPOINT_HASH));
    let key = signing_key(SEED_1, PUBLIC_1);
    let signature = signature(CHECKPOINT_SIGNATURE);
    assert_eq!(key.sign(Domain::Checkpoint, &body), signature);
}

#[test]
fn a_host_is_named_by_its_first_event_key() {
    assert_eq!(public_key(PUBLIC_0).host_id().to_string(), HOST_ID);
}

#[test]
fn sealing_gives_these_hashes_and_signatures() {
    let batches = [
        (
            signing_key(SEED_0, PUBLIC_0),
            HEADER_0,
            HEADER_HASH_0,
            SIGNATURE_0,
        ),
        (
            signing_key(SEED_1, PUBLIC_1),
            HEADER_1,
            HEADER_HASH_1,
            SIGNATURE_1,
        ),
    ];
    for (key, header, hash, signature) in batches {
        assert_eq!(header_hash(&bytes(header)).to_string(), hash);
        assert_eq!(
            seal_header(&key, &bytes(header)),
            self::signature(signature)
        );
    }
}

#[test]
fn the_two_batches_verify_and_form_a_chain_across_the_epochs() {
    let mut keys = SuccessionChain::new(public_key(PUBLIC_0));
    let accepted = keys.accept(
        1,
        public_key(PUBLIC_1),
        &bytes(SUCCESSION_BODY),
        &signature(SUCCESSION_SIGNATURE),
    );
    assert_eq!(accepted, Ok(Accepted::New));

    let mut chain = Chain::START;
    let batches = [
        (0, 2, HEADER_0, SIGNATURE_0, PAYLOAD_0, PAYLOAD_HASH_0),
        (1, 1, HEADER_1, SIGNATURE_1, PAYLOAD_1, PAYLOAD_HASH_1),
    ];
    for (epoch, count, header, signature, payload, payload_hash) in batches {
        let hash = verify_header(
            &keys.key(epoch).unwrap(),
            &bytes(header),
            &self::signature(signature),
            Payload::Present(&bytes(payload)),
            &digest(payload_hash),
        );
        let link = Link {
            seq_first: chain.next_seq,
            count,
            prev_hash: chain.head,
        };
        assert_eq!(chain.advance(&link, hash.unwrap()), Ok(Position::Next));
    }
    assert_eq!(
        chain,
        Chain {
            next_seq: 3,
            head: digest(HEADER_HASH_1)
        }
    );
}

#[test]
fn the_second_header_names_the_hash_of_the_first() {
    assert!(HEADER_1.contains(HEADER_HASH_0));
    assert!(HEADER_1.contains(PAYLOAD_HASH_1) && HEADER_0.contains(PAYLOAD_HASH_0));
}

#[test]
fn the_fingerprint_covers_both_anchors() {
    let fingerprint = enrolment_fingerprint(b"example CA certificate", b"example trust root");
    assert_eq!(
        format_fingerprint(&fingerprint),
        format!("sha256:{FINGERPRINT}")
    );
}

#[test]
fn secrets_are_hashed_under_their_domain() {
    assert_eq!(
        Digest::of_domain(Domain::Token, b"example"),
        digest(TOKEN_HASH)
    );
    assert_eq!(
        Digest::of_domain(Domain::MachineId, b"example"),
        digest(MACHINE_ID_HASH)
    );
    assert_eq!(
        Digest::of_domain(Domain::BreakGlass, b"0123456789ABCDEFGHJKMNPQR"),
        digest(BREAK_GLASS_HASH)
    );
}

#[test]
fn the_format_document_cites_every_vector_and_every_domain() {
    let document = include_str!("../../../docs/formats/evidence.md");
    let vectors = [
        SEED_0,
        PUBLIC_0,
        KEY_ID_0,
        HOST_ID,
        SEED_1,
        PUBLIC_1,
        KEY_ID_1,
        PAYLOAD_0,
        PAYLOAD_HASH_0,
        HEADER_0,
        HEADER_HASH_0,
        SIGNATURE_0,
        SUCCESSION_BODY,
        SUCCESSION_SIGNATURE,
        PAYLOAD_1,
        PAYLOAD_HASH_1,
        HEADER_1,
        HEADER_HASH_1,
        SIGNATURE_1,
        LEAF_0,
        LEAF_1,
        ROOT_2,
        CHECKPOINT_BODY,
        CHECKPOINT_HASH,
        CHECKPOINT_SIGNATURE,
        FINGERPRINT,
        TOKEN_HASH,
        MACHINE_ID_HASH,
        BREAK_GLASS_HASH,
    ];
    let missing: Vec<&str> = vectors
        .into_iter()
        .chain(Domain::ALL.map(Domain::prefix))
        .filter(|text| !document.contains(text))
        .collect();
    assert!(missing.is_empty(), "not in the document: {missing:?}");
}

/// The PKCS#8 v2 document of RFC 8410 around a known seed.
fn signing_key(seed: &str, public: &str) -> SigningKey {
    let document = format!("3051020101300506032b657004220420{seed}812100{public}");
    SigningKey::from_pkcs8(&bytes(&document)).expect("seed and public key belong together")
}

fn public_key(text: &str) -> PublicKey {
    PublicKey::from_slice(&bytes(text)).expect("the vector is a public key")
}

fn signature(text: &str) -> Signature {
    Signature::from_slice(&bytes(text)).expect("the vector is a signature")
}

fn digest(text: &str) -> Digest {
    Digest::from_hex(text).expect("the vector is a digest")
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).expect("the vector is hex digits")
}
