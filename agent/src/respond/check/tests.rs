//! Envelopes that somebody altered: whatever is done to what operators signed, nothing is accepted but what they
//! signed, by enough of them, for this host, in its time, once.

use std::collections::HashSet;

use picket_event::command::{Action, FLEET, Mode};
use picket_event::trust::{Person, Role};
use picket_event::{HostId, UnixNanos};
use picket_seal::SigningKey;

use super::*;
use crate::respond::tests::{NOW, OWN, command};

mod by_root;

/// Inputs of one run; set `PICKET_MUTATIONS` for more.
const INPUTS: u32 = 12_000;
const EPOCH: u64 = 3;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most.max(1) as u64).unwrap()
    }
}

/// Who signs: two of all, one who only asks, a program, and one whom nobody knows.
struct Signers {
    trust: TrustRoot,
    keys: Vec<SigningKey>,
}

impl Signers {
    fn new() -> Self {
        let roles: [&[Role]; 4] = [
            &[Role::Requester, Role::Approver],
            &[Role::Requester, Role::Approver],
            &[Role::Requester],
            &[Role::Automation],
        ];
        let keys: Vec<SigningKey> = (0..5).map(|_| SigningKey::generate().unwrap()).collect();
        let persons = keys.iter().zip(roles).enumerate();
        let persons = persons.map(|(number, (key, roles))| Person {
            name: number.to_string(),
            keys: vec![key.public_key()],
            roles: roles.to_vec(),
        });
        let mut trust = TrustRoot::first(persons.collect(), NOW);
        trust.critical_hosts.insert(HostId::new([9; 32]));
        Self { trust, keys }
    }

    fn sign(&self, who: usize, domain: Domain, body: &[u8]) -> v1::Signature {
        v1::Signature {
            key_id: self.keys[who].public_key().key_id().0.to_vec(),
            signature: self.keys[who].sign(domain, body).0.to_vec(),
        }
    }
}

/// What was really signed, and whether this host has to accept it.
struct Original {
    signed: v1::SignedCommand,
    good: bool,
}

fn originals(signers: &Signers) -> Vec<Original> {
    let mut originals = Vec::new();
    let mut add = |number: u8, by: &[usize], good: bool, change: &dyn Fn(&mut Command)| {
        let mut one = command(number, Action::LockUser("ada".to_owned()));
        change(&mut one);
        let body = one.encode();
        let signatures = by
            .iter()
            .map(|who| signers.sign(*who, Domain::Command, &body));
        let signed = v1::SignedCommand {
            signatures: signatures.collect(),
            body,
            ..v1::SignedCommand::default()
        };
        originals.push(Original { signed, good });
    };
    let fleet = |command: &mut Command| {
        for number in 0..=FLEET {
            let number = u8::try_from(number).unwrap();
            command.hosts.push(HostId::new([number; 32]));
        }
    };
    let critical = |command: &mut Command| command.hosts.push(HostId::new([9; 32]));
    add(1, &[0], true, &|_| {});
    add(2, &[2], true, &|_| {});
    add(3, &[0, 1], true, &fleet);
    add(4, &[2, 1], true, &critical);
    add(5, &[3, 0], true, &|_| {});
    add(6, &[0], false, &fleet);
    // The order of signatures is signed by nobody, so the same two the other way round would be good; one person twice never is.
    add(7, &[0, 0], false, &critical);
    add(8, &[3], false, &|_| {});
    add(9, &[4], false, &|_| {});
    add(10, &[0], false, &|command| {
        command.hosts = vec![HostId::new([8; 32])];
    });
    add(11, &[0], false, &|command| command.host_epoch = EPOCH - 1);
    add(12, &[0], false, &|command| {
        (command.not_before, command.expires) = (UnixNanos(NOW.0 - 9), UnixNanos(NOW.0 - 1));
    });
    add(13, &[0], true, &|command| command.mode = Mode::DryRun);
    originals
}

/// The agent's own checks up to time, with the ids that it has seen.
fn accepted(
    signed: &v1::SignedCommand,
    trust: &TrustRoot,
    seen: &HashSet<CommandId>,
) -> Option<Checked> {
    size(signed, MAX_COMMAND_BYTES).ok()?;
    let checked = signatures(signed, trust, NOW).ok()?;
    host(&checked, (OWN, EPOCH), signed.proof.as_ref()).ok()?;
    if seen.contains(&checked.command.id) {
        return None;
    }
    time(&checked, NOW).ok()?;
    Some(checked)
}

#[test]
fn no_mutated_envelope_is_accepted_and_every_whole_one_is_once() {
    let signers = Signers::new();
    let originals = originals(&signers);
    let nothing = HashSet::new();
    for (number, original) in originals.iter().enumerate() {
        let checked = accepted(&original.signed, &signers.trust, &nothing);
        assert_eq!(checked.is_some(), original.good, "{number}");
        let seen: HashSet<_> = checked.iter().map(|checked| checked.command.id).collect();
        assert!(
            accepted(&original.signed, &signers.trust, &seen).is_none(),
            "replayed"
        );
    }
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for input in 0..inputs() {
        let mut signed = originals[random.below(originals.len())].signed.clone();
        for _ in 0..=random.below(2) {
            mutate(&mut signed, (&signers, &originals), &mut random);
        }
        if let Some(checked) = accepted(&signed, &signers.trust, &nothing) {
            assert!(
                is_whole(&signed, &originals),
                "{input}: {checked:?} {signed:?}"
            );
        }
    }
}

fn inputs() -> u32 {
    let asked = std::env::var("PICKET_MUTATIONS").ok();
    let asked = asked.and_then(|number| number.parse().ok());
    asked.unwrap_or(INPUTS)
}

/// Accepted is only the body of a good original, and with nothing but signatures that its persons made for it. Those
/// that are left must still be enough; that is what the checks say.
fn is_whole(signed: &v1::SignedCommand, originals: &[Original]) -> bool {
    originals.iter().any(|original| {
        let mut all = signed.signatures.iter();
        original.signed.body == signed.body
            && original.good
            && all.all(|one| original.signed.signatures.contains(one))
    })
}

fn mutate(
    signed: &mut v1::SignedCommand,
    (signers, originals): (&Signers, &[Original]),
    random: &mut Random,
) {
    let other = &originals[random.below(originals.len())].signed;
    let at = random.below(signed.signatures.len());
    match random.below(13) {
        0 => flip(&mut signed.body, random),
        1 => signed.body.truncate(random.below(signed.body.len())),
        2 => signed.body.extend([0x50, 1]),
        3 => signed.body.clone_from(&other.body),
        4 => signed.signatures.clone_from(&other.signatures),
        5 => signed.signatures.extend(other.signatures.clone()),
        6 => signed.signatures.truncate(at),
        7 => signed.signatures.reverse(),
        8 => {
            if let Some(one) = signed.signatures.get_mut(at) {
                flip(&mut one.signature, random);
            }
        }
        9 => {
            if let Some(one) = signed.signatures.get_mut(at) {
                flip(&mut one.key_id, random);
            }
        }
        // The key of another, a stranger, another purpose.
        10 => {
            if let (Some(one), Some(theirs)) =
                (signed.signatures.get_mut(at), other.signatures.first())
            {
                one.key_id.clone_from(&theirs.key_id);
            }
        }
        11 => signed
            .signatures
            .push(signers.sign(4, Domain::Command, &signed.body)),
        _ => {
            let who = random.below(4);
            let for_other = signers.sign(who, Domain::Statement, &signed.body);
            signed.signatures.push(for_other);
        }
    }
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    bytes[at] ^= 1 << random.below(8);
}
