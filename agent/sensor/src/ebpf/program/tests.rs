//! The committed object is what the table of hooks says it is.

use super::*;

#[test]
fn the_object_has_every_program_and_map_that_is_named_here() {
    let mut open = ObjectBuilder::default().open_memory(&OBJECT.bytes).unwrap();
    let have: BTreeSet<String> = open
        .progs_mut()
        .map(|program| program.name().to_string_lossy().into_owned())
        .collect();
    let programs = HOOKS
        .iter()
        .flat_map(|spec| spec.programs)
        .chain(DISPATCHERS);
    let named: BTreeSet<String> = programs
        .flat_map(|program| {
            let of_its_own = program
                .place
                .calls()
                .map(|_| format!("{}_call", program.name));
            of_its_own.into_iter().chain([program.name.to_owned()])
        })
        .collect();
    assert_eq!(have, named);
    let maps: BTreeSet<String> = open
        .maps()
        .map(|map| map.name().to_string_lossy().into_owned())
        .collect();
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
