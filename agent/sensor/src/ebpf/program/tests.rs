//! The committed object is what the table of hooks says it is.

use super::*;

fn open(bytes: &'static [u8]) -> OpenObject {
    ObjectBuilder::default().open_memory(bytes).unwrap()
}

fn programs(open: &mut OpenObject) -> BTreeSet<String> {
    let programs = open.progs_mut();
    programs
        .map(|program| program.name().to_string_lossy().into_owned())
        .collect()
}

fn maps(open: &OpenObject) -> BTreeSet<String> {
    let maps = open.maps();
    maps.map(|map| map.name().to_string_lossy().into_owned())
        .collect()
}

fn named<'a>(programs: impl Iterator<Item = &'a Program>) -> BTreeSet<String> {
    programs
        .flat_map(|program| {
            let of_its_own = program
                .place
                .calls()
                .map(|_| format!("{}_call", program.name));
            of_its_own.into_iter().chain([program.name.to_owned()])
        })
        .collect()
}

#[test]
fn the_object_has_every_program_and_map_that_is_named_here() {
    let mut open = open(&OBJECT.bytes);
    let hooks = InObject::Main.hooks().flat_map(|spec| spec.programs);
    assert_eq!(programs(&mut open), named(hooks.chain(DISPATCHERS)));
    let maps = maps(&open);
    for name in [
        "ring_process",
        "ring_other",
        "scratches",
        "settings",
        "ledger",
        "prefixes",
    ] {
        assert!(maps.contains(name), "no map {name}");
    }
}

#[test]
fn the_objects_beside_have_their_programs_and_few_maps_of_their_own() {
    let main = maps(&open(&OBJECT.bytes));
    let objects: [(InObject, &'static [u8], &[&str]); 3] = [
        (
            InObject::Functions,
            &beside::FUNCTIONS.bytes,
            &["asked_names"],
        ),
        (
            InObject::Guards,
            &beside::GUARDS.bytes,
            &["guarded_inodes", "guarded_objects", "guards"],
        ),
        (
            InObject::Blocks,
            &beside::BLOCK.bytes,
            &["blocked_files", "refusals", "refusals_untold"],
        ),
    ];
    for (object, bytes, own) in objects {
        let mut open = open(bytes);
        let hooks = object.hooks().flat_map(|spec| spec.programs);
        assert_eq!(programs(&mut open), named(hooks), "{object:?}");
        let maps = maps(&open);
        let others: Vec<&String> = maps.difference(&main).collect();
        assert_eq!(others, own, "{object:?}");
    }
}

#[test]
fn two_hooks_never_claim_the_same_system_call() {
    let mut taken = BTreeSet::new();
    for program in HOOKS.iter().flat_map(|spec| spec.programs) {
        let Some((edge, calls)) = program.place.calls() else {
            continue;
        };
        for call in calls {
            assert!(taken.insert((edge, *call)), "{edge:?} of {}", call.name);
        }
    }
}

#[test]
fn the_highest_cpu_of_a_list_is_its_last_number() {
    assert_eq!(highest_of("0-3,8-11\n"), Some(11));
    assert_eq!(highest_of("0\n"), Some(0));
    assert_eq!(highest_of(""), None);
}
