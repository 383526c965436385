//! `picketctl events` in the words of others: OCSF and ECS.

use serde_json::Value;

use crate::query::filled;

#[test]
fn a_search_prints_the_same_events_as_json_ocsf_and_ecs() {
    let rig = filled();
    let print = |view: &str| -> Vec<Value> {
        let args = ["events", "--limit", "2000", view];
        let printed = rig.ctl_prints(&args).unwrap();
        let lines = printed.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let (own, ocsf, ecs) = (print("--json"), print("--ocsf"), print("--ecs"));
    assert_eq!((own.len(), ocsf.len(), ecs.len()), (2_000, 2_000, 2_000));
    for ((own, ocsf), ecs) in own.iter().zip(&ocsf).zip(&ecs) {
        assert_eq!(ocsf["metadata"]["version"], "1.7.0");
        assert_eq!(ocsf["metadata"]["original_time"], own["time"]);
        assert_eq!(ecs["@timestamp"], own["time"]);
        assert_eq!(ecs["event"]["action"], own["kind"]);
        assert_eq!(ecs["event"]["sequence"], own["seq"]);
        assert_eq!(ecs["host"]["id"], own["host"]);
        assert!(ecs["host"]["name"].as_str().unwrap().starts_with("filled-"));
        assert_eq!(ecs["process"]["executable"], own["process"]["exe"]);
        assert_eq!(ecs["process"]["args"], own["process"]["argv"]);
        for field in ["process", "file", "network", "login", "exit", "verdicts"] {
            assert_eq!(ecs["picket"][field], own[field], "{field}");
        }
        for category in ecs["event"]["category"].as_array().into_iter().flatten() {
            let category = category.as_str().unwrap();
            assert!(
                CATEGORIES.contains(&category) || category == "session",
                "{ecs}"
            );
        }
    }
    let two = rig.ctl(&["events", "--json", "--ecs"]).unwrap();
    assert_eq!(two.code, Some(2), "{two:?}");
}

/// Values that ECS allows in `event.category`, of those that we use.
const CATEGORIES: [&str; 8] = [
    "authentication",
    "configuration",
    "driver",
    "file",
    "host",
    "iam",
    "network",
    "process",
];
