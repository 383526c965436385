//! What can be said without a certificate, and by who wants another.

use picket_event::token::EnrolmentToken;
use picket_proto::v1;
use picket_seal::Domain;
use picket_tests::rig::Rig;
use prost::Message;
use prost::encoding::decode_varint;
use rcgen::{CertificateParams, KeyPair, SigningKey as _};

use super::MOST_KIB;
use super::mutate::Schema;
use super::neighbour::Neighbour;
use super::raw::{ask, assert_unhurt, is_typed, peak_kib};
use crate::rogue::{Rogue, Stranger};

const BEGIN: &str = "/picket.v1.Enrollment/Begin";
const FINISH: &str = "/picket.v1.Enrollment/Finish";
const BEGIN_RENEWAL: &str = "/picket.v1.Enrollment/BeginRenewal";
const FINISH_RENEWAL: &str = "/picket.v1.Enrollment/FinishRenewal";
const RENEW: &str = "/picket.v1.Agent/RenewCertificate";

#[test]
fn every_field_of_an_enrolment_is_refused_by_name_or_taken() {
    let mut rig = Rig::start().unwrap();
    let schema = Schema::read();
    let neighbour = Neighbour::of(&rig);
    let before = peak_kib(&mut rig);
    let token = rig
        .ctl_prints(&["token", "create", "--uses", "400"])
        .unwrap();
    let token = EnrolmentToken::parse(token.trim()).unwrap();
    let stranger = Stranger::at(&rig);
    let honest = stranger.beginning(&token).encode_to_vec();
    for mutant in schema.mutants("BeginRequest", &honest, 1) {
        let answer = stranger.block(ask::<v1::Challenge>(
            stranger.channel(),
            BEGIN,
            mutant.bytes,
        ));
        assert_typed(&mutant.what, answer);
    }
    let form = v1::FinishRequest {
        challenge_id: vec![1; 16],
        token_secret: token.secret.clone().into_bytes(),
        tls_signature: vec![1; 70],
        event_signature: vec![1; 64],
    };
    let (mut taken, mut refused) = (0, 0);
    for mutant in schema.mutants("FinishRequest", &form.encode_to_vec(), 0) {
        let stranger = Stranger::at(&rig);
        let challenge = stranger.begin(stranger.beginning(&token)).unwrap();
        let honest = stranger.proofs(&challenge, &token);
        let bytes = filled(&mutant.bytes, &form, &honest);
        let answer = stranger.block(ask::<v1::Enrolled>(stranger.channel(), FINISH, bytes));
        if assert_typed(&mutant.what, answer) {
            taken += 1;
        } else {
            refused += 1;
        }
    }
    println!("{taken} finished all the same, {refused} did not");
    assert!(taken < refused, "a wrong proof is no proof");
    finish(rig, neighbour, before);
}

#[test]
fn every_field_of_a_renewal_is_refused_by_name_or_taken() {
    let mut rig = Rig::start().unwrap();
    let schema = Schema::read();
    let neighbour = Neighbour::of(&rig);
    let rogue = Rogue::enroll(&rig);
    let stranger = Stranger::at(&rig);
    let before = peak_kib(&mut rig);
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let begin = v1::BeginRenewalRequest {
        host_id: rogue.host.as_bytes().to_vec(),
        csr: csr.der().to_vec(),
        successions: Vec::new(),
    };
    let begun = || {
        let begun = ask(stranger.channel(), BEGIN_RENEWAL, begin.encode_to_vec());
        stranger.block::<Result<v1::RenewalChallenge, _>>(begun)
    };
    for mutant in schema.mutants("BeginRenewalRequest", &begin.encode_to_vec(), 1) {
        let asked = ask(stranger.channel(), BEGIN_RENEWAL, mutant.bytes);
        let answer: Result<v1::RenewalChallenge, _> = stranger.block(asked);
        assert_typed(&mutant.what, answer);
    }
    let length = begun().unwrap().challenge_id.len();
    let form = v1::FinishRenewalRequest {
        challenge_id: vec![1; length],
        tls_signature: vec![1; 70],
        event_signature: vec![1; 64],
    };
    for mutant in schema.mutants("FinishRenewalRequest", &form.encode_to_vec(), 0) {
        let challenge = begun().unwrap();
        let tls = Domain::EnrollTls.message(&challenge.nonce);
        let event = rogue.key.sign(Domain::Renewal, &challenge.nonce);
        let honest = v1::FinishRenewalRequest {
            challenge_id: challenge.challenge_id,
            tls_signature: key.sign(&tls).unwrap(),
            event_signature: event.as_bytes().to_vec(),
        };
        let bytes = filled(&mutant.bytes, &form, &honest);
        let asked = ask::<v1::CertificateChain>(stranger.channel(), FINISH_RENEWAL, bytes);
        assert_typed(&mutant.what, stranger.block(asked));
    }
    let channel = rogue
        .channel(&rig.addresses.agents, Some(&rogue.papers))
        .unwrap();
    let renew = v1::RenewRequest { csr: begin.csr };
    for mutant in schema.mutants("RenewRequest", &renew.encode_to_vec(), 0) {
        let asked = ask::<v1::CertificateChain>(channel.clone(), RENEW, mutant.bytes);
        assert_typed(&mutant.what, rogue.block(asked));
    }
    finish(rig, neighbour, before);
}

/// Whether it was a yes; a no must be typed.
fn assert_typed<T>(what: &str, answer: Result<T, tonic::Status>) -> bool {
    if let Err(status) = &answer {
        assert!(is_typed(status), "{what}: {status}");
    }
    answer.is_ok()
}

/// The mutant of a form, with what an honest host would say where the form was left as it was.
fn filled<M: Message + Default>(mutant: &[u8], form: &M, honest: &M) -> Vec<u8> {
    let (form, honest) = (form.encode_to_vec(), honest.encode_to_vec());
    let mut bytes = mutant.to_vec();
    for (blank, full) in fields(&form).into_iter().zip(fields(&honest)) {
        if let Some(at) = bytes.windows(blank.len()).position(|part| part == blank) {
            bytes.splice(at..at + blank.len(), full.iter().copied());
        }
    }
    bytes
}

/// The fields of a message of byte strings, each with its tag.
fn fields(mut message: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    while let [_, sized @ ..] = message {
        let mut bytes = sized;
        let length = usize::try_from(decode_varint(&mut bytes).unwrap()).unwrap();
        let before = message.len() - bytes.len();
        let (field, rest) = message.split_at(before + length);
        fields.push(field);
        message = rest;
    }
    fields
}

fn finish(mut rig: Rig, neighbour: Neighbour, before: u64) {
    let fared = neighbour.leave(&rig);
    assert_unhurt(&mut rig);
    let grown = peak_kib(&mut rig).saturating_sub(before);
    println!("memory +{grown} KiB; the neighbour: {fared}");
    assert!(grown <= MOST_KIB, "strangers cost {grown} KiB of memory");
    rig.verify().unwrap();
}
