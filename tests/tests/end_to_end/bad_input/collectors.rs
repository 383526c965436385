//! Right words for a collector that is not there, is there already, or is another one.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use picket_tests::rig::Rig;

use super::{ZEROS, fails};

#[test]
fn a_collector_that_is_not_there_is_not_reachable() {
    let mut rig = Rig::start().unwrap();
    let token = rig.token().unwrap();
    rig.crash_collector();
    let operator = rig.operator().display().to_string();
    let ctl = fails("picketctl", 4).saying(&rig.addresses.operators);
    for verb in ["hosts", "events", "verify", "token list", "commands"] {
        ctl.with_hint().on(&format!("--operator {operator} {verb}"));
    }
    let state = rig.path().join("state");
    let enroll = |collector: &str| {
        let known = format!("--token {token} --fingerprint {}", rig.fingerprint);
        format!(
            "enroll --collector {collector} {known} --state {}",
            state.display()
        )
    };
    let agents = rig.addresses.agents.as_str();
    fails("picket-agent", 4)
        .saying(agents)
        .with_hint()
        .on(&enroll(agents));
    for (address, code) in [
        ("no.such.host.invalid:7443", 4),
        ("nowhere", 2),
        ("127.0.0.1:port", 2),
    ] {
        fails("picket-agent", code)
            .saying(address)
            .on(&enroll(address));
    }
    assert!(!state.exists(), "nothing half-made");
}

#[test]
fn what_the_collector_does_not_know_or_understand_is_said_in_one_line() {
    let rig = Rig::start().unwrap();
    for filter in ["process.exe =", "colour = 'red'", "(kind = 'exec'"] {
        let ended = rig.ctl(&["events", "--where", filter]).unwrap();
        fails("picketctl", 2).check(filter, &ended);
    }
    let operator = format!("--operator {}", rig.operator().display());
    for line in [
        "host show nobody",
        "host revoke nobody",
        "tree nobody 00000000000000000000000000000000",
        "contain kill 4242 --host nobody",
        "command show ab",
        "token revoke nothing",
    ] {
        fails("picketctl", 1).on(&format!("{operator} {line}"));
    }
}

#[test]
fn a_port_in_use_is_named() {
    let mut rig = Rig::start().unwrap();
    rig.crash_collector();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ports = ["--agents", "--operators", "--metrics"];
    for taken in ports {
        let free = ports.iter().filter(|port| **port != taken);
        let free: Vec<_> = free.map(|port| format!("{port} 127.0.0.1:0")).collect();
        let free = free.join(" ");
        let serve = format!(
            "serve --data {} {taken} {address} {free}",
            rig.data().display()
        );
        let expected = fails("picket-collector", 1).saying(&address);
        expected.with_hint().on(&serve);
    }
}

#[test]
fn an_existing_collector_is_not_overwritten() {
    let rig = Rig::start().unwrap();
    let before = contents(&rig.data());
    let certificate = rig.operator().join("certificate.pem");
    let (data, operator) = (rig.data(), rig.operator());
    let (data, operator) = (data.display().to_string(), operator.display().to_string());
    let init = format!("init --data {data} --name localhost --operator {operator}/request.pem");
    fails("picket-collector", 1)
        .saying("certificate.pem")
        .with_hint()
        .on(&init);
    fs::remove_file(&certificate).unwrap();
    fails("picket-collector", 1)
        .saying(&data)
        .with_hint()
        .on(&init);
    assert_eq!(contents(&rig.data()), before);
    assert!(!certificate.exists(), "nothing half-made");
    let again = format!("operator init --name alice --out {operator}");
    fails("picketctl", 1)
        .saying(&operator)
        .with_hint()
        .on(&again);
}

#[test]
fn a_request_that_is_none_makes_no_collector() {
    let dir = tempfile::tempdir().unwrap();
    let (request, data) = (dir.path().join("request.pem"), dir.path().join("data"));
    fs::write(&request, "-----BEGIN PICKET OPERATOR REQUEST-----\nAAAA\n").unwrap();
    let (asked, made) = (request.display().to_string(), data.display());
    let init = format!("init --data {made} --name localhost --operator {asked}");
    fails("picket-collector", 1)
        .saying(&asked)
        .with_hint()
        .on(&init);
    assert!(!data.exists(), "nothing half-made");
}

#[test]
fn a_wrong_fingerprint_does_not_finish_an_operator() {
    let rig = Rig::start().unwrap();
    let folder = rig.operator();
    for pinned in ["ca.der", "trust-root.bin", "collector"] {
        fs::remove_file(folder.join(pinned)).unwrap();
    }
    let collector = rig.addresses.operators.as_str();
    let finish = format!(
        "operator finish {} --collector {collector}",
        folder.display()
    );
    let wrong = format!("{finish} --fingerprint {ZEROS}");
    fails("picketctl", 5).saying("fingerprint").on(&wrong);
    assert!(!folder.join("ca.der").exists(), "nothing half-made");
    let right = format!("{finish} --fingerprint {}", rig.fingerprint);
    let words: Vec<&str> = right.split_whitespace().collect();
    assert_eq!(rig.programs.run("picketctl", &words).unwrap().code, Some(0));
}

fn contents(folder: &Path) -> Vec<Vec<u8>> {
    let names = [
        "ca.pem",
        "ca.key",
        "server.pem",
        "server.key",
        "trust-root.bin",
    ];
    let files = names
        .iter()
        .map(|name| fs::read(folder.join(name)).unwrap());
    files.collect()
}
