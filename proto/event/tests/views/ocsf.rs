//! Every event is an object of OCSF that keeps to its schema and loses nothing.

use std::collections::BTreeSet;

use picket_event::{
    AccountChange, BootId, Bpf, CredChange, Credentials, Detail, Device, Dns, Event, ExecFailed,
    Exit, File, Fork, IoUring, Kind, KindCounts, Login, Loss, LossCause, MemExec, Memfd, Module,
    Mount, Network, Origin, ProcessUid, Ptrace, ScheduledJob, Script, SensorState, Signal, Source,
    Text, UnixNanos, json, ocsf,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::ocsf_schema::faults;
use crate::{arbitrary, containment, exec, origin, process};

proptest! {
    #[test]
    fn any_event_keeps_to_the_schema(event in arbitrary::event(), named in any::<bool>()) {
        let value = ocsf::to_value(&event, &origin(), named.then_some("web-1"));
        prop_assert_eq!(faults(&value), Vec::<String>::new(), "{}", value);
    }

    #[test]
    fn an_event_of_an_unknown_host_keeps_to_the_schema(event in arbitrary::event()) {
        let nowhere = Origin { host: None, boot: BootId::new([0; 16]) };
        let value = ocsf::to_value(&event, &nowhere, None);
        prop_assert_eq!(faults(&value), Vec::<String>::new(), "{}", value);
    }

    #[test]
    fn nothing_that_we_know_is_missing(event in arbitrary::event()) {
        let ours = json::to_value(&event, &origin());
        let value = ocsf::to_value(&event, &origin(), None);
        let mut there = BTreeSet::new();
        leaves(&value, &mut |leaf| { there.insert(leaf); });
        leaves(&value["unmapped"], &mut |leaf| { there.insert(leaf); });
        let mut missing = Vec::new();
        leaves(&ours, &mut |leaf| {
            let unsigned = leaf.trim_start_matches('-').to_owned();
            let said = [&leaf, &unsigned, &capital(&leaf)].map(|it| there.contains(it));
            if said == [false; 3] {
                missing.push(leaf);
            }
        });
        missing.retain(|leaf| !is_said_otherwise(leaf, &event));
        prop_assert_eq!(missing, Vec::<String>::new(), "{}", value);
    }
}

/// Times are in milliseconds, addresses hexadecimal, and what a call returned when it went well is
/// a success.
fn is_said_otherwise(leaf: &str, event: &Event) -> bool {
    let started = event
        .process
        .as_ref()
        .and_then(|process| process.start_time);
    let returned = match &event.detail {
        Some(Detail::Ptrace(it)) => it.result,
        Some(Detail::Signal(it)) => it.result,
        Some(Detail::Module(it)) => it.result,
        Some(Detail::Mount(it)) => it.result,
        Some(Detail::File(it)) => it.result,
        _ => None,
    };
    let address = match &event.detail {
        Some(Detail::MemExec(it)) => Some(it.address),
        _ => None,
    };
    let went_well = returned.filter(|result| *result >= 0);
    started.is_some_and(|time| time.to_string() == leaf)
        || address.is_some_and(|address| address.to_string() == leaf)
        || went_well.is_some_and(|result| result.to_string() == leaf)
}

/// OCSF's names of outcomes and directions are our words with a capital letter.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn leaves(value: &Value, each: &mut impl FnMut(String)) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => each(number.to_string()),
        Value::String(text) => each(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, each)),
        Value::Object(map) => map.values().for_each(|item| leaves(item, each)),
    }
}

/// As the property says, and without the host's own name.
fn view(event: &Event) -> Value {
    let value = ocsf::to_value(event, &origin(), Some("web-1"));
    assert_eq!(faults(&value), Vec::<String>::new(), "{value}");
    value
}

fn seen(kind: Kind, detail: Detail) -> Value {
    let time = UnixNanos(1_767_607_200_123_456_789);
    view(
        &Event::new(kind, time, Source::Ebpf)
            .by(process())
            .with(detail),
    )
}

/// Class and activity, as `1001/3`.
fn class(value: &Value) -> String {
    format!("{}/{}", value["class_uid"], value["activity_id"])
}

#[test]
fn an_exec_is_a_launch_with_its_process_parent_and_ancestors() {
    let value = view(&exec());
    assert_eq!(class(&value), "1007/1");
    assert_eq!(value["type_uid"], 100_701);
    assert_eq!(value["time"], 1_767_607_200_123_u64);
    assert_eq!(value["launch_type_id"], 3);
    assert_eq!(
        (&value["severity_id"], &value["is_alert"]),
        (&json!(4), &json!(true))
    );
    assert_eq!(value["attacks"], json!([{"technique": {"uid": "T1105"}}]));
    let actor = &value["actor"]["process"];
    assert_eq!(
        (&actor["name"], &actor["pid"]),
        (&json!("curl"), &json!(4242))
    );
    assert_eq!(actor["parent_process"]["file"]["path"], "/bin/bash");
    assert_eq!(actor["ancestry"][0]["pid"], 4200);
    assert_eq!(actor["user"], json!({"uid": "0", "name": "root"}));
    assert_eq!(actor["file"]["hashes"][0]["algorithm_id"], 3);
    assert_eq!(value["device"]["hostname"], "web-1");
    assert_eq!(
        value["metadata"]["original_time"],
        "2026-01-05T10:00:00.123456789Z"
    );
    let left = &value["unmapped"]["process"];
    assert_eq!(
        left["argv_raw"],
        json!(["Y3VybA==", "Yf8="]),
        "the exact arguments"
    );
    assert!(left.get("exe").is_none(), "what is mapped is said once");
    assert_eq!(value["unmapped"]["verdicts"][0]["title"], "A title");
}

#[test]
fn a_container_is_a_profile() {
    let mut process = process();
    process.container = Some("0123456789ab".to_owned());
    let value = view(&Event::new(Kind::Exec, UnixNanos(0), Source::Ebpf).by(process));
    assert_eq!(value["process"]["container"]["uid"], "0123456789ab");
    let profiles = value["metadata"]["profiles"].to_string();
    assert!(profiles.contains("\"container\""), "{profiles}");
}

#[test]
fn processes_that_begin_and_end_are_process_activity() {
    let failed = ExecFailed {
        path: Text::from("/opt/x"),
        argv: vec![Text::from("x"), Text::from("-y")],
        argc: 2,
        argv_truncated: false,
        result: -13,
    };
    let value = seen(Kind::ExecFailed, Detail::ExecFailed(failed));
    assert_eq!(
        (class(&value), &value["status_code"]),
        ("1007/1".to_owned(), &json!("13"))
    );
    assert_eq!(value["process"]["cmd_line"], "x -y");
    let fork = Fork {
        child_uid: ProcessUid::new([9; 16]),
        child_pid: 77,
    };
    let value = seen(Kind::Fork, Detail::Fork(fork));
    assert_eq!(
        (class(&value), &value["launch_type_id"]),
        ("1007/1".to_owned(), &json!(2))
    );
    assert_eq!(value["process"]["parent_process"]["pid"], 4242);
    let exit = Exit {
        code: Some(3),
        ..Exit::default()
    };
    let value = seen(Kind::Exit, Detail::Exit(exit));
    assert_eq!(
        (class(&value), &value["exit_code"]),
        ("1007/2".to_owned(), &json!(3))
    );
}

#[test]
fn a_change_of_users_is_set_user_id_and_one_of_capabilities_a_privilege() {
    let old = Credentials {
        uid: 1000,
        effective_uid: 1000,
        ..Credentials::default()
    };
    let root = Credentials {
        effective_uid: 0,
        caps_effective: 3,
        ..old
    };
    let change = |new| Detail::Cred(CredChange { old, new });
    let value = seen(Kind::CredChange, change(root));
    assert_eq!(
        (class(&value), &value["process"]["euid"]),
        ("1007/5".to_owned(), &json!(0))
    );
    assert_eq!(value["unmapped"]["cred"]["old"]["uid"], 1000);
    let able = Credentials {
        caps_effective: 1 << 21,
        ..old
    };
    let value = seen(Kind::CredChange, change(able));
    assert_eq!(class(&value), "3005/1");
    assert_eq!(value["privileges"], json!(["CAP_SYS_ADMIN"]));
}

#[test]
fn reaching_into_another_process_is_injection_or_opening() {
    let ptrace = |request: &str| {
        seen(
            Kind::Ptrace,
            Detail::Ptrace(Ptrace {
                request: request.to_owned(),
                target_pid: 7,
                result: Some(-1),
                ..Ptrace::default()
            }),
        )
    };
    let value = ptrace("attach");
    assert_eq!(
        (class(&value), &value["process"]["pid"]),
        ("1007/4".to_owned(), &json!(7))
    );
    assert_eq!(value["status_id"], 2);
    assert_eq!(class(&ptrace("vm_readv")), "1007/3");
    assert_eq!(class(&ptrace("traceme")), "1007/99");
}

#[test]
fn a_signal_that_ends_is_a_termination_by_its_actor() {
    let signal = |number, target_pid| {
        seen(
            Kind::Signal,
            Detail::Signal(Signal {
                number,
                target_pid,
                ..Signal::default()
            }),
        )
    };
    let value = signal(9, 7);
    assert_eq!(
        (class(&value), &value["process"]["pid"]),
        ("1007/2".to_owned(), &json!(7))
    );
    assert_eq!(value["actor"]["process"]["pid"], 4242);
    assert_eq!(class(&signal(19, 7)), "1007/99");
    assert_eq!(signal(15, -40)["process"]["uid"], "group 40");
}

#[test]
fn files_have_the_activity_of_what_was_done() {
    let file = File {
        path: Text::from("/etc/passwd"),
        new_path: Text::from("/etc/passwd.old"),
        mode: Some(0o100_644),
        ..File::default()
    };
    let done = |kind, file: &File| class(&seen(kind, Detail::File(file.clone())));
    assert_eq!(done(Kind::FileCreate, &file), "1001/1");
    assert_eq!(done(Kind::FileModify, &file), "1001/3");
    assert_eq!(done(Kind::FileDelete, &file), "1001/4");
    assert_eq!(done(Kind::FileRename, &file), "1001/5");
    assert_eq!(done(Kind::FileLink, &file), "1001/1");
    assert_eq!(done(Kind::FileAttr, &file), "1001/6");
    assert_eq!(done(Kind::FileOpen, &file), "1001/2");
    let owner = File {
        change: "owner".to_owned(),
        ..file.clone()
    };
    assert_eq!(done(Kind::FileAttr, &owner), "1001/7");
    let writing = File {
        flags: Some(1),
        ..file.clone()
    };
    assert_eq!(done(Kind::FileOpen, &writing), "1001/14");
    let value = seen(Kind::FileRename, Detail::File(file));
    assert_eq!(value["file"]["name"], "passwd");
    assert_eq!(value["file_result"]["path"], "/etc/passwd.old");
}

#[test]
fn a_link_is_a_new_name_and_says_where_it_leads() {
    let link = File {
        path: Text::from("/etc/shadow"),
        new_path: Text::from("/tmp/x"),
        change: "symbolic".to_owned(),
        ..File::default()
    };
    let value = seen(Kind::FileLink, Detail::File(link));
    assert_eq!(
        value["file"],
        json!({"name": "x", "type_id": 7, "path": "/tmp/x"})
    );
    assert_eq!(value["unmapped"]["file"]["path"], "/etc/shadow");
}

#[test]
fn mounts_and_files_in_memory_are_file_activity() {
    let mount = |action: &str| {
        Detail::Mount(Mount {
            action: action.to_owned(),
            target: Text::from("/mnt"),
            ..Mount::default()
        })
    };
    assert_eq!(class(&seen(Kind::Mount, mount("bind"))), "1001/12");
    assert_eq!(class(&seen(Kind::Mount, mount("unmount"))), "1001/13");
    assert_eq!(class(&seen(Kind::Mount, mount("pivot_root"))), "1001/99");
    let memfd = Memfd {
        name: Text::from("dropper"),
        flags: Some(1),
    };
    let value = seen(Kind::Memfd, Detail::Memfd(memfd));
    assert_eq!(
        (class(&value), &value["file"]["type"]),
        ("1001/1".to_owned(), &json!("memfd"))
    );
}

#[test]
fn what_touches_the_kernel_has_its_classes() {
    let memory = MemExec {
        call: "mprotect".to_owned(),
        address: 0x7f00_0000_0000,
        length: 4096,
        protection: 5,
        ..MemExec::default()
    };
    let value = seen(Kind::MemExec, Detail::MemExec(memory));
    assert_eq!(
        (class(&value), &value["base_address"]),
        ("1004/2".to_owned(), &json!("0x7f0000000000"))
    );
    let module = Module {
        action: "load".to_owned(),
        name: Text::from("evil"),
        ..Module::default()
    };
    let value = seen(Kind::ModuleLoad, Detail::Module(module));
    assert_eq!(
        (class(&value), &value["driver"]["file"]["name"]),
        ("1002/1".to_owned(), &json!("evil"))
    );
    let bpf = Bpf {
        action: "prog_load".to_owned(),
        prog_type: "kprobe".to_owned(),
        ..Bpf::default()
    };
    let value = seen(Kind::BpfLoad, Detail::Bpf(bpf));
    assert_eq!(
        (class(&value), &value["kernel"]["system_call"]),
        ("1003/1".to_owned(), &json!("bpf"))
    );
    assert_eq!(value["unmapped"]["bpf"]["prog_type"], "kprobe");
    let ring = IoUring {
        action: "setup".to_owned(),
        ..IoUring::default()
    };
    let value = seen(Kind::IoUring, Detail::IoUring(ring));
    assert_eq!(value["type_name"], "Process Activity: io_uring setup");
}

#[test]
fn a_device_is_a_peripheral_that_the_kernel_announces() {
    let device = Device {
        action: "add".to_owned(),
        subsystem: "usb".to_owned(),
        path: Text::from("/devices/pci0000:00/usb1/1-1"),
        vendor_id: "1d6b".to_owned(),
        ..Device::default()
    };
    let event = Event::new(Kind::Device, UnixNanos(0), Source::Ebpf).with(Detail::Device(device));
    let value = view(&event);
    assert_eq!(
        (class(&value), &value["actor"]["app_name"]),
        ("1010/1".to_owned(), &json!("kernel"))
    );
    assert_eq!(value["peripheral_device"]["name"], "1-1");
    assert_eq!(
        value["peripheral_device"]["vendor_id_list"],
        json!(["1d6b"])
    );
}

#[test]
fn a_script_is_named_and_its_text_said_to_be_left_out() {
    let script = Script {
        path: Text::from("/opt/x.py"),
        interpreter: Text::from("/usr/bin/python3.11"),
        size: Some(17),
        ..Script::default()
    };
    let value = seen(Kind::Script, Detail::Script(script));
    assert_eq!(
        (class(&value), &value["script"]["type_id"]),
        ("1009/1".to_owned(), &json!(3))
    );
    let content = json!({"value": "", "is_truncated": true, "untruncated_size": 17});
    assert_eq!(value["script"]["script_content"], content);
}

#[test]
fn a_job_is_created_changed_and_removed() {
    let job = |action: &str| {
        let job = ScheduledJob {
            action: action.to_owned(),
            scheduler: "cron".to_owned(),
            path: Text::from("/etc/cron.d/x"),
            command: Text::from("run me"),
            ..ScheduledJob::default()
        };
        seen(Kind::ScheduledJob, Detail::ScheduledJob(job))
    };
    assert_eq!(class(&job("created")), "1006/1");
    assert_eq!(class(&job("changed")), "1006/2");
    assert_eq!(class(&job("removed")), "1006/3");
    assert_eq!(job("created")["job"]["cmd_line"], "run me");
}

#[test]
fn an_account_is_created_and_its_password_changed() {
    let change = |object: &str, action: &str| {
        let change = AccountChange {
            action: action.to_owned(),
            object: object.to_owned(),
            account: Text::from("ada"),
            ..AccountChange::default()
        };
        seen(Kind::AccountChange, Detail::AccountChange(change))
    };
    assert_eq!(class(&change("user", "created")), "3001/1");
    assert_eq!(class(&change("user", "removed")), "3001/6");
    assert_eq!(class(&change("password", "changed")), "3001/3");
    let rule = change("sudo_rule", "created");
    assert_eq!(class(&rule), "3001/99");
    assert_eq!(rule["activity_name"], "sudo_rule created");
    assert_eq!(rule["user"]["name"], "ada");
}

#[test]
fn connections_have_their_ends_by_direction() {
    let network = |kind, direction: &str, result| {
        let network = Network {
            proto: "tcp".to_owned(),
            direction: direction.to_owned(),
            local_ip: Some([10, 0, 0, 1].into()),
            local_port: 40_000,
            remote_ip: Some([192, 0, 2, 1].into()),
            remote_port: 443,
            bytes_in: Some(1),
            bytes_out: Some(2),
            result,
        };
        seen(kind, Detail::Network(network))
    };
    let value = network(Kind::NetConnect, "outbound", Some(-115));
    assert_eq!(
        (class(&value), &value["status_id"]),
        ("4001/1".to_owned(), &json!(1))
    );
    assert_eq!(
        value["dst_endpoint"],
        json!({"ip": "192.0.2.1", "port": 443})
    );
    assert_eq!(value["connection_info"]["protocol_num"], 6);
    assert_eq!(value["traffic"]["bytes"], 3);
    assert_eq!(
        class(&network(Kind::NetConnect, "outbound", Some(-111))),
        "4001/5"
    );
    assert_eq!(
        class(&network(Kind::NetConnect, "outbound", Some(-101))),
        "4001/4"
    );
    let value = network(Kind::NetAccept, "inbound", None);
    assert_eq!(value["src_endpoint"]["ip"], "192.0.2.1");
    assert_eq!(class(&network(Kind::NetListen, "inbound", None)), "4001/7");
    assert_eq!(class(&network(Kind::NetClose, "outbound", None)), "4001/2");
}

#[test]
fn names_are_queries_and_responses() {
    let dns = |response| {
        let dns = Dns {
            query: Text::from("example.org"),
            record_type: "A".to_owned(),
            answers: vec!["192.0.2.1".to_owned()],
            rcode: Some(3),
            server_ip: Some([10, 0, 0, 53].into()),
            response,
        };
        seen(Kind::Dns, Detail::Dns(dns))
    };
    assert_eq!(class(&dns(false)), "4003/1");
    let value = dns(true);
    assert_eq!(
        (class(&value), &value["rcode_id"]),
        ("4003/2".to_owned(), &json!(3))
    );
    assert_eq!(value["answers"][0]["rdata"], "192.0.2.1");
    assert_eq!(
        value["query"],
        json!({"hostname": "example.org", "type": "A"})
    );
}

#[test]
fn logins_are_authentication_and_a_switch_names_both_users() {
    let login = |kind| {
        let login = Login {
            user: Text::from("ann"),
            target_user: Text::from("root"),
            outcome: "failure".to_owned(),
            service: "sudo".to_owned(),
            source_ip: "192.0.2.9".to_owned(),
            ..Login::default()
        };
        seen(kind, Detail::Login(login))
    };
    let value = login(Kind::LoginFailed);
    assert_eq!(
        (class(&value), &value["status_id"]),
        ("3002/1".to_owned(), &json!(2))
    );
    assert_eq!(value["src_endpoint"]["ip"], "192.0.2.9");
    assert_eq!(class(&login(Kind::Login)), "3002/1");
    assert_eq!(class(&login(Kind::Logoff)), "3002/2");
    assert_eq!(class(&login(Kind::AccountChange)), "3001/0");
    assert_eq!(class(&login(Kind::Session)), "3002/99");
    let value = login(Kind::AccountSwitch);
    assert_eq!(class(&value), "3002/7");
    assert_eq!(value["user"]["name"], "root");
    assert_eq!(value["actor"]["user"]["name"], "ann");
}

#[test]
fn what_the_agent_says_of_itself_has_its_classes() {
    let own = |kind, detail| view(&Event::new(kind, UnixNanos(0), Source::Agent).with(detail));
    let value = own(Kind::Containment, Detail::Containment(containment()));
    assert_eq!(
        (class(&value), &value["process"]["pid"]),
        ("7003/2".to_owned(), &json!(99))
    );
    assert_eq!(value["status_id"], 1);
    let mut isolated = containment();
    isolated.action = "isolate".to_owned();
    assert_eq!(
        class(&own(Kind::Containment, Detail::Containment(isolated))),
        "7004/1"
    );
    let mut hidden = containment();
    hidden.action = "quarantine".to_owned();
    hidden.affected.clear();
    assert_eq!(
        class(&own(Kind::Containment, Detail::Containment(hidden))),
        "7001/1"
    );
    let sensor = SensorState {
        backend: "ebpf".to_owned(),
        change: "started".to_owned(),
        hooks: Vec::new(),
    };
    let value = own(Kind::Sensor, Detail::Sensor(sensor));
    assert_eq!(
        (class(&value), &value["app"]["name"]),
        ("6002/3".to_owned(), &json!("Picket"))
    );
    let finding = view(&Event::new(Kind::Finding, UnixNanos(0), Source::Agent));
    assert_eq!(class(&finding), "2004/1");
}

#[test]
fn a_ledger_is_an_error_only_if_something_was_lost() {
    let ledger = |lost| {
        let mut line = KindCounts::zero(Kind::Exec);
        line.generated = lost;
        line.lose(LossCause::Ring, lost);
        let loss = Loss {
            kinds: vec![line],
            last: true,
        };
        view(&Event::new(Kind::Loss, UnixNanos(0), Source::Agent).with(Detail::Loss(loss)))
    };
    assert_eq!(class(&ledger(0)), "6008/99");
    let value = ledger(2);
    assert_eq!(
        (class(&value), &value["message"]),
        ("6008/1".to_owned(), &json!("0 events submitted, 2 lost"))
    );
    assert_eq!(value["unmapped"]["loss"]["exec"]["lost_by"]["ring"], 2);
}

#[test]
fn the_page_for_users_names_the_class_of_every_kind() {
    let page = include_str!("../../../../docs/ocsf.md");
    for kind in Kind::ALL {
        let name = format!("`{}`", kind.name());
        let row = page
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&name))
            .unwrap_or_else(|| panic!("{name} has no row"));
        let value = view(&Event::new(*kind, UnixNanos(0), Source::Ebpf));
        let class = format!("| {} |", value["class_uid"]);
        assert!(row.contains(&class), "{name} is {class}: {row}");
    }
}

#[test]
fn an_object_that_breaks_the_schema_is_found_out() {
    let mut value = view(&exec());
    value["device"]["type_id"] = json!(4711);
    value["process"] = json!({"name": 5});
    value["colour"] = json!("red");
    let faults = faults(&value).join("; ");
    for fault in [
        "type_id is 4711",
        "process has none of",
        "name is no string",
        "colour is no attribute",
    ] {
        assert!(faults.contains(fault), "{fault} in {faults}");
    }
}
