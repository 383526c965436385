//! What was done in a session is found by who began it, from where and by which key, and is shown as a tree.

use picket_event::{Detail, Event, Kind, Login, Process, ProcessUid, Source, Text, UnixNanos};
use picket_proto::v1;

use crate::collector::Collector;
use crate::host::Host;

/// What happened so many seconds after the beginning, by process `number` of `parent`.
fn event(kind: Kind, second: i64, (number, parent): (u8, u8), session: Option<u32>) -> Event {
    let mut process = Process::new(uid(number), u32::from(number));
    process.parent_uid = Some(uid(parent));
    process.exe = Text::from(format!("/bin/{number}"));
    process.session = session;
    Event::new(kind, UnixNanos(second * 1_000_000_000), Source::Ebpf).by(process)
}

fn uid(number: u8) -> ProcessUid {
    ProcessUid::new([number; 16])
}

fn login(user: &str, session: u32) -> Detail {
    Detail::Login(Login {
        user: Text::from(user),
        outcome: "success".to_owned(),
        service: "sshd".to_owned(),
        source_ip: "192.0.2.7".to_owned(),
        key_fingerprint: format!("SHA256:{user}"),
        session: Some(session),
        ..Login::default()
    })
}

/// sshd (2) lets ada in, who runs a shell (3) and in it a program (4); bob's is session 8. What ada's shell did is stored before her
/// login, which is told half a second later.
fn day() -> Vec<Event> {
    vec![
        event(Kind::Exec, 1, (3, 2), Some(7)),
        event(Kind::Exec, 2, (4, 3), Some(7)),
        event(Kind::Login, 1, (2, 1), None).with(login("ada", 7)),
        event(Kind::Login, 3, (5, 1), None).with(login("bob", 8)),
        event(Kind::Exec, 4, (6, 5), Some(8)),
        event(Kind::Exec, 5, (9, 1), None),
        event(Kind::AccountSwitch, 6, (4, 3), Some(7)).with(Detail::Login(Login {
            user: Text::from("ada"),
            target_user: Text::from("root"),
            ..Login::default()
        })),
    ]
}

async fn told() -> (Collector, Host) {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let batch = host.batch(day());
    assert_eq!(host.send_one(&collector, batch).await.refused, "");
    (collector, host)
}

fn pids(found: &[v1::FoundEvent]) -> Vec<u32> {
    let process = |found: &v1::FoundEvent| found.event.clone()?.process;
    found
        .iter()
        .filter_map(process)
        .map(|process| process.pid)
        .collect()
}

#[tokio::test]
async fn what_was_done_in_a_session_is_found_by_its_login() {
    let (collector, _host) = told().await;
    let of_ada = collector.search("login.user = 'ada' and kind = exec").await;
    assert_eq!(pids(&of_ada), [3, 4]);
    let by_key = collector
        .search("login.key_fingerprint = 'SHA256:ada'")
        .await;
    // The shell and the login are of the same second; and what she became was begun by that key too.
    let mut by_key = pids(&by_key);
    by_key.sort_unstable();
    assert_eq!(by_key, [2, 3, 4, 4]);
    let of_nobody = collector
        .search("kind = exec and not login.user ~ ''")
        .await;
    assert_eq!(pids(&of_nobody), [9]);
}

#[tokio::test]
async fn each_event_says_whose_session_it_belongs_to() {
    let (collector, _host) = told().await;
    let execs = collector.search("kind = exec").await;
    let who = |found: &v1::FoundEvent| {
        let login = found.session.clone()?.login?;
        Some((String::from_utf8(login.user).unwrap(), login.source_ip))
    };
    let of = |name: &str| Some((name.to_owned(), "192.0.2.7".to_owned()));
    let said: Vec<_> = execs.iter().map(who).collect();
    assert_eq!(said, [of("ada"), of("ada"), of("bob"), None]);
    let logins = collector.search("kind = login").await;
    assert!(logins.iter().all(|found| found.session.is_none()));
}

#[tokio::test]
async fn whoever_follows_sees_the_session_from_its_login_on() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let request = v1::SearchRequest {
        r#where: "login.user = 'ada'".to_owned(),
        ..v1::SearchRequest::default()
    };
    let mut client = collector.operators().await;
    let mut followed = client.tail_events(request).await.unwrap().into_inner();
    let mut day = day();
    let login = day.remove(2);
    for event in [vec![login], day] {
        let batch = host.batch(event);
        host.send_one(&collector, batch).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let found = followed.message().await.unwrap().unwrap();
        seen.extend(pids(&[found]));
    }
    assert_eq!(seen, [2, 3, 4, 4]);
}

#[tokio::test]
async fn a_tree_is_had_by_the_number_of_the_session() {
    let (collector, host) = told().await;
    let ask = |session| v1::TreeRequest {
        host: host.id().to_string(),
        session: Some(session),
        ..v1::TreeRequest::default()
    };
    let mut client = collector.operators().await;
    let tree = client.process_tree(ask(7)).await.unwrap().into_inner();
    let login = tree.session.unwrap().login.unwrap();
    assert_eq!(login.key_fingerprint, "SHA256:ada");
    let shown: Vec<_> = tree
        .nodes
        .iter()
        .map(|node| (node.process.as_ref().unwrap().pid, node.target))
        .collect();
    assert_eq!(
        &shown[shown.len() - 3..],
        [(2, true), (3, false), (4, false)]
    );
    let refused = client.process_tree(ask(99)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_session_whose_login_nobody_saw_begins_with_its_first_program() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let batch = host.batch(vec![
        event(Kind::Exec, 1, (3, 2), Some(7)),
        event(Kind::Exec, 2, (4, 3), Some(7)),
    ]);
    host.send_one(&collector, batch).await;
    let ask = v1::TreeRequest {
        host: host.id().to_string(),
        session: Some(7),
        ..v1::TreeRequest::default()
    };
    let tree = collector.operators().await.process_tree(ask).await.unwrap();
    let tree = tree.into_inner();
    assert!(tree.session.is_none());
    let target = tree.nodes.iter().find(|node| node.target).unwrap();
    assert_eq!(target.process.as_ref().unwrap().pid, 3);
}
