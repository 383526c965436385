//! Signed content on a host: taken, refused, kept over restarts, and set aside. Each test has a state directory and an operator of its own.

#![cfg(test)]

use picket_event::trust::{Person, Role};
use picket_seal::{Digest, Domain, SigningKey};

use super::*;

const NOW: UnixNanos = UnixNanos(1_800_000_000_000_000_000);

const RULE: &str = "title: A rule of the operators
id: 0b1f1d1c-5c1f-4f0a-9b57-3a1d2f6f7a10
status: test
logsource: {product: linux, category: process_creation}
detection:
    selection: {Image|endswith: /marked}
    condition: selection
level: high
";

struct World {
    dir: tempfile::TempDir,
    state: Arc<StateDir>,
    key: SigningKey,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            state: Arc::new(StateDir::open(dir.path()).unwrap()),
            dir,
            key: SigningKey::generate().unwrap(),
        }
    }

    fn trust(&self) -> TrustRoot {
        let person = Person {
            name: "ada".to_owned(),
            keys: vec![self.key.public_key()],
            roles: vec![Role::Content],
        };
        TrustRoot::first(vec![person], NOW)
    }

    /// As after a start.
    fn contents(&self) -> SharedContents {
        let state = Arc::clone(&self.state);
        Contents::open(state, self.dir.path().join("rules.d"), &self.trust())
    }

    fn signed(&self, kind: ContentKind, version: u64, text: &str) -> v1::SignedContent {
        let content = Content {
            kind,
            version,
            created: NOW,
            files: vec![ContentFile {
                name: "marked.yml".to_owned(),
                text: text.to_owned(),
            }],
            reason: "test".to_owned(),
        };
        let body = content.encode();
        let digest = Digest::of(&body);
        let signature = self.key.sign(Domain::Content, digest.as_bytes());
        v1::SignedContent {
            body,
            signatures: vec![v1::Signature {
                key_id: self.key.public_key().key_id().0.to_vec(),
                signature: signature.0.to_vec(),
            }],
        }
    }

    fn take(&self, contents: &Contents, signed: &v1::SignedContent) -> Offered {
        contents.take(signed, &self.trust(), NOW)
    }
}

fn used(contents: &Contents) -> (u64, u64) {
    let [(_, rules), (_, policy), _configuration] = contents.used();
    (rules, policy)
}

#[test]
fn a_configuration_is_used_from_the_next_start_on() {
    let world = World::new();
    let contents = world.contents();
    let configuration = ContentKind::Configuration;
    let signed = world.signed(configuration, 3, "cpu_percent = 7");
    let offered = world.take(&contents, &signed);
    assert!(matches!(offered, Offered::Taken(_, None)), "{offered:?}");
    assert_eq!(contents.configuration().cpu_percent, None);
    let told = contents.told().borrow().clone();
    assert_eq!((told[0].version, told[0].offered), (0, 3));
    assert!(told[0].refused.is_empty());
    let next = world.contents();
    assert_eq!(next.configuration().cpu_percent, Some(7));
    let told = next.told().borrow().clone();
    assert_eq!((told[0].version, told[0].offered), (3, 3));
    assert!(matches!(world.take(&next, &signed), Offered::Known));
}

#[test]
fn a_configuration_that_names_what_is_the_hosts_own_is_refused() {
    let world = World::new();
    let contents = world.contents();
    let signed = world.signed(ContentKind::Configuration, 1, "proxy = \"evil:1\"");
    match world.take(&contents, &signed) {
        Offered::Refused(reason) => assert!(reason.contains("`proxy`"), "{reason}"),
        offered => panic!("{offered:?}"),
    }
    assert_eq!(world.contents().configuration(), Configuration::default());
}

#[test]
fn a_configuration_with_which_the_agent_does_not_live_gives_way_to_the_one_before() {
    let world = World::new();
    let configuration = ContentKind::Configuration;
    let first = world.signed(configuration, 1, "cpu_percent = 1");
    world.take(&world.contents(), &first);
    world.contents().end_trials();
    let second = world.signed(configuration, 2, "cpu_percent = 2");
    let contents = world.contents();
    world.take(&contents, &second);
    // The run that took it ends in order, to start anew with it: that is not to have lived with it.
    contents.end_trials();
    let used = || world.contents().configuration().cpu_percent;
    assert_eq!([used(), used(), used()], [Some(2), Some(2), Some(1)]);
    // The host never takes the bad one again, and a newer one.
    let contents = world.contents();
    assert!(matches!(world.take(&contents, &second), Offered::Known));
    let told = contents.told().borrow().clone();
    assert_eq!((told[0].version, told[0].offered), (1, 2));
    let third = world.signed(configuration, 3, "cpu_percent = 3");
    world.take(&contents, &third);
    assert_eq!(world.contents().configuration().cpu_percent, Some(3));
}

#[test]
fn what_is_taken_is_in_use_and_still_after_a_restart() {
    let world = World::new();
    let contents = world.contents();
    let rules = world.signed(ContentKind::Rules, 2, RULE);
    let Offered::Taken(taken, Some(compiled)) = world.take(&contents, &rules) else {
        panic!("not taken");
    };
    assert_eq!(
        (taken.version, taken.signers.as_slice()),
        (2, &["ada".to_owned()][..])
    );
    assert!(
        compiled
            .titles()
            .any(|title| title == "A rule of the operators")
    );
    let policy = world.signed(ContentKind::Policy, 1, "");
    assert!(matches!(
        world.take(&contents, &policy),
        Offered::Taken(_, None)
    ));
    for contents in [contents, world.contents()] {
        assert_eq!(used(&contents), (2, 1));
        assert_eq!(contents.rules().len(), 1);
        assert_eq!(contents.versions().len(), 2);
        assert!(matches!(world.take(&contents, &rules), Offered::Known));
    }
}

#[test]
fn a_lower_version_and_what_is_not_signed_or_does_not_compile_change_nothing() {
    let world = World::new();
    let contents = world.contents();
    world.take(&contents, &world.signed(ContentKind::Rules, 5, RULE));
    let mut forged = world.signed(ContentKind::Rules, 6, RULE);
    forged.body = world.signed(ContentKind::Rules, 7, RULE).body;
    let refused = [
        (world.signed(ContentKind::Rules, 4, RULE), "after 5"),
        (
            world.signed(ContentKind::Rules, 6, "title: no rule"),
            "marked.yml",
        ),
        (world.signed(ContentKind::Policy, 1, "entry = 1"), "line 1"),
        (forged, "not believed"),
    ];
    for (signed, why) in refused {
        let Offered::Refused(reason) = world.take(&contents, &signed) else {
            panic!("{why}: taken");
        };
        assert!(reason.contains(why), "{reason}");
        assert_eq!(used(&contents), (5, 0));
    }
    let told = contents.told().borrow().clone();
    let of_rules = told
        .iter()
        .find(|one| one.kind == ContentKind::Rules.to_wire());
    let of_rules = of_rules.unwrap();
    assert_eq!((of_rules.version, of_rules.offered), (5, 7));
    assert!(!of_rules.refused.is_empty());
}

#[test]
fn rules_with_which_the_agent_does_not_stay_alive_give_way_to_the_ones_before() {
    let world = World::new();
    let contents = world.contents();
    world.take(&contents, &world.signed(ContentKind::Rules, 1, RULE));
    contents.end_trials();
    world.take(&contents, &world.signed(ContentKind::Rules, 2, RULE));
    // It is killed and started, again and again.
    for _ in 1..STARTS {
        assert_eq!(used(&world.contents()), (2, 0));
    }
    let back = world.contents();
    assert_eq!(used(&back), (1, 0));
    let told = back.told().borrow().clone();
    assert!(told[0].refused.contains("stay alive"), "{told:?}");
    // The same version is not taken again; the next is.
    assert!(matches!(
        world.take(&back, &world.signed(ContentKind::Rules, 2, RULE)),
        Offered::Known
    ));
    assert!(matches!(
        world.take(&back, &world.signed(ContentKind::Rules, 3, RULE)),
        Offered::Taken(..)
    ));
}

#[test]
fn rules_with_which_it_lives_are_never_set_aside() {
    let world = World::new();
    let contents = world.contents();
    world.take(&contents, &world.signed(ContentKind::Rules, 1, RULE));
    for _ in 0..5 {
        let started = world.contents();
        assert_eq!(used(&started), (1, 0));
        started.end_trials();
    }
}

#[test]
fn a_damaged_file_is_told_and_not_used() {
    let world = World::new();
    world.take(&world.contents(), &world.signed(ContentKind::Policy, 1, ""));
    std::fs::write(world.dir.path().join("content/policy"), b"damaged").unwrap();
    let contents = world.contents();
    assert_eq!(used(&contents), (0, 0));
    assert!(!contents.told().borrow()[0].refused.is_empty());
}
