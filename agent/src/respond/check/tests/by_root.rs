//! Commands that name their hosts by a root: whatever is done to what is signed and to what is shown beside it, this host does only
//! what is shown to be for it, in a ring that began.

use picket_event::command::HostTree;

use super::*;

/// What a host is handed, and whether it has to act on it.
#[derive(Clone, Debug)]
struct Handed {
    signed: v1::SignedCommand,
    start: Option<v1::SignedStatement>,
    good: bool,
}

/// Who signs, how many rings began, and whether that is enough.
struct Case<'a> {
    by: &'a [usize],
    others: u8,
    rings: &'a [u32],
    begun: u32,
    good: bool,
}

fn hosts(others: u8) -> Vec<HostId> {
    let others = (0..others).map(|number| HostId::new([100 + number; 32]));
    others.chain([OWN]).collect()
}

fn handed(
    signers: &Signers,
    number: u8,
    case: &Case<'_>,
    change: impl Fn(&mut Command),
) -> (Handed, HostTree) {
    let mut one = command(number, Action::LockUser("ada".to_owned()));
    (one.hosts, one.rings) = (hosts(case.others), case.rings.to_vec());
    change(&mut one);
    let one = one.by_root().unwrap();
    let tree = one.tree_of(&one.beside()).unwrap().unwrap();
    let body = one.encode();
    let signatures = case.by.iter();
    let signatures = signatures.map(|who| signers.sign(*who, Domain::Command, &body));
    let said = Statement {
        kind: StatementKind::Start,
        command: one.id,
        command_sha256: Digest::of(&body),
        reason: String::new(),
        time: NOW,
        ring: case.begun,
    };
    let signed = v1::SignedCommand {
        signatures: signatures.collect(),
        proof: tree.proof(&OWN),
        host_ids: Vec::new(),
        body,
    };
    let start = (case.begun > 0).then(|| said.sign(&signers.keys[0]));
    let good = case.good;
    (
        Handed {
            signed,
            start,
            good,
        },
        tree,
    )
}

const ALL: Case<'static> = Case {
    by: &[0, 1],
    others: 12,
    rings: &[],
    begun: 0,
    good: true,
};

/// All cases, and the proofs of all hosts in them.
fn cases(signers: &Signers) -> (Vec<Handed>, Vec<v1::HostProof>) {
    let (mut all, mut proofs) = (Vec::new(), Vec::new());
    let mut add = |case: Case<'_>, change: &dyn Fn(&mut Command)| {
        let number = u8::try_from(all.len()).unwrap() + 1;
        let (handed, tree) = handed(signers, number, &case, change);
        proofs.extend(tree.hosts().iter().filter_map(|host| tree.proof(host)));
        all.push(handed);
    };
    let rings: &[u32] = &[1, 4, 13];
    let (by, good) = (&[0][..], false);
    add(ALL, &|_| {});
    add(
        Case {
            begun: 3,
            rings,
            ..ALL
        },
        &|_| {},
    );
    add(Case { by, good, ..ALL }, &|_| {});
    // A critical host may be among few as well.
    add(
        Case {
            by,
            good,
            others: 2,
            ..ALL
        },
        &|_| {},
    );
    add(
        Case {
            by: &[2, 1],
            others: 2,
            ..ALL
        },
        &|_| {},
    );
    add(
        Case {
            by,
            others: 2,
            ..ALL
        },
        &|one| one.mode = Mode::DryRun,
    );
    add(Case { rings, good, ..ALL }, &|_| {});
    add(
        Case {
            begun: 2,
            rings,
            good,
            ..ALL
        },
        &|_| {},
    );
    add(Case { good, ..ALL }, &|one| {
        one.hosts.retain(|host| *host != OWN);
    });
    add(Case { good, ..ALL }, &|one| one.host_epoch = EPOCH - 1);
    // As many as one person may ask for, in a body that is signed, over a tree of more.
    add(
        Case {
            by,
            good,
            others: 40,
            ..ALL
        },
        &|_| {},
    );
    (all, proofs)
}

fn accepted(handed: &Handed, signers: &Signers) -> Option<Checked> {
    let to = Addressee {
        host: OWN,
        host_epoch: EPOCH,
        trust: &signers.trust,
    };
    let checked = addressed(&handed.signed, handed.start.as_ref(), to, NOW).ok()?;
    time(&checked, NOW).ok()?;
    Some(checked)
}

#[test]
fn no_mutated_proof_or_envelope_is_accepted_and_every_whole_one_is() {
    let signers = Signers::new();
    let (cases, proofs) = cases(&signers);
    for (number, case) in cases.iter().enumerate() {
        let checked = accepted(case, &signers);
        assert_eq!(checked.is_some(), case.good, "{number}");
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut whole = 0;
    for input in 0..inputs() {
        let mut handed = cases[random.below(cases.len())].clone();
        for _ in 0..=random.below(2) {
            mutate_handed(&mut handed, (&signers, &cases, &proofs), &mut random);
        }
        if accepted(&handed, &signers).is_some() {
            assert!(is_one_of(&handed, &cases), "{input}: {handed:?}");
            whole += 1;
        }
    }
    assert!(whole > 0, "some are as they were signed");
}

/// Accepted are only the bytes of a good command with the one proof that is this host's and, in rings, a word that was given for it.
fn is_one_of(handed: &Handed, cases: &[Handed]) -> bool {
    cases.iter().any(|case| {
        let mut all = handed.signed.signatures.iter();
        case.good
            && case.signed.body == handed.signed.body
            && case.signed.proof == handed.signed.proof
            && (case.start.is_none() || case.start == handed.start)
            && all.all(|one| case.signed.signatures.contains(one))
    })
}

fn mutate_handed(
    handed: &mut Handed,
    (signers, cases, proofs): (&Signers, &[Handed], &[v1::HostProof]),
    random: &mut Random,
) {
    let other = &cases[random.below(cases.len())];
    match random.below(5) {
        0 => {
            let originals: Vec<Original> = cases
                .iter()
                .map(|case| Original {
                    signed: case.signed.clone(),
                    good: case.good,
                })
                .collect();
            mutate(&mut handed.signed, (signers, &originals), random);
        }
        1 => handed.signed.proof = Some(proofs[random.below(proofs.len())].clone()),
        2 => mutate_proof(&mut handed.signed.proof, random),
        3 => mutate_start(&mut handed.start, other, random),
        _ => {
            let all = hosts(12).into_iter().map(|host| host.as_bytes().to_vec());
            handed.signed.host_ids = all.collect();
        }
    }
}

fn mutate_proof(shown: &mut Option<v1::HostProof>, random: &mut Random) {
    let kind = random.below(9);
    let Some(proof) = shown else {
        return;
    };
    let at = random.below(proof.path.len());
    match (kind, proof.path.get_mut(at)) {
        (0, Some(hash)) => flip(hash, random),
        (1, Some(hash)) => hash.truncate(random.below(32)),
        (2, Some(_)) => drop(proof.path.remove(at)),
        (3, Some(hash)) => {
            let again = hash.clone();
            proof.path.insert(at, again);
        }
        (4, _) => proof.path.reverse(),
        (5, _) => proof.index ^= 1 << random.below(32),
        (6, _) => proof.index = u32::try_from(random.below(42)).unwrap(),
        (7, _) => proof.path.push(vec![0; 32]),
        _ => *shown = None,
    }
}

fn mutate_start(start: &mut Option<v1::SignedStatement>, other: &Handed, random: &mut Random) {
    match (random.below(3), start.as_mut()) {
        (0, Some(said)) => flip(&mut said.body, random),
        (1, Some(said)) => {
            if let Some(signature) = &mut said.signature {
                flip(&mut signature.signature, random);
            }
        }
        _ => start.clone_from(&other.start),
    }
}

#[test]
fn what_is_shown_to_a_host_is_small_and_a_large_heap_of_it_is_not_even_read() {
    let signers = Signers::new();
    let (handed, _) = handed(&signers, 1, &ALL, |_| {});
    let with = |change: &dyn Fn(&mut v1::SignedCommand)| {
        let mut other = handed.clone();
        change(&mut other.signed);
        let to = Addressee {
            host: OWN,
            host_epoch: EPOCH,
            trust: &signers.trust,
        };
        let refused = addressed(&other.signed, None, to, NOW);
        refused.map_or_else(|refusal| refusal.code, |_| "")
    };
    assert_eq!(with(&|_| {}), "");
    let heap = vec![vec![0; 32]; 4_000];
    assert_eq!(
        with(&|signed| signed.proof.as_mut().unwrap().path.extend(heap.clone())),
        "too_large"
    );
    assert_eq!(
        with(&|signed| signed.host_ids.extend(heap.clone())),
        "too_large"
    );
    assert_eq!(with(&|signed| signed.proof = None), "wrong_host");
}
