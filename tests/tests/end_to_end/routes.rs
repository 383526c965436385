//! The way to the collector: several addresses, and a proxy between.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use picket_tests::rig::{PATIENCE, Rig, write_file};
use picket_tests::wait;

/// Waits until an agent with these settings is connected; says where.
fn connected(rig: &Rig, settings: &str) -> String {
    let state = rig.enroll("host").unwrap();
    let config = rig.path().join("agent.toml");
    write_file(&config, format!("source = \"portable\"\n{settings}\n")).unwrap();
    let agent = rig.agent(&state, Some(&config)).unwrap();
    let at = wait::until("a connection", PATIENCE, || {
        let status = rig.status(&state)?;
        let up = status["link"]["state"] == "connected";
        Ok(up.then(|| {
            status["link"]["collector"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        }))
    });
    agent.stop(PATIENCE).unwrap();
    at.unwrap()
}

/// A port at which nobody listens.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn an_address_that_does_not_answer_costs_nothing_when_another_one_does() {
    let rig = Rig::start().unwrap();
    let real = rig.addresses.agents.clone();
    let settings = format!("collectors = [\"{}\", \"{real}\"]", closed());
    assert_eq!(connected(&rig, &settings), real);
}

#[test]
fn an_agent_behind_a_proxy_reaches_its_collector_through_it() {
    let rig = Rig::start().unwrap();
    let (proxy, tunnels) = proxy();
    let at = connected(&rig, &format!("proxy = \"{proxy}\""));
    assert_eq!(at, rig.addresses.agents);
    assert!(tunnels.load(Ordering::Relaxed) >= 1);
}

#[test]
fn a_host_behind_a_proxy_that_wants_a_password_enrols_and_runs_through_it() {
    let rig = Rig::start().unwrap();
    let (proxy, tunnels) = proxy();
    let settings = rig.path().join("agent.toml");
    let write = |credentials: &str| {
        let text = format!("source = \"portable\"\nproxy = \"{credentials}{proxy}\"\n");
        write_file(&settings, text).unwrap();
    };
    let state = rig.path().join("behind");
    let token = rig.token().unwrap();
    let enroll = || {
        let (settings, state) = (settings.display().to_string(), state.display().to_string());
        let args = ["enroll", "--config", &settings, "--state", &state];
        let to = ["--collector", &rig.addresses.agents, "--token", &token];
        rig.programs
            .run("picket-agent", &[&args[..], &to].concat())
            .unwrap()
    };
    write("alice:wrong@");
    let refused = enroll();
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(
        refused.stderr.contains("407") && !refused.stderr.contains("wrong"),
        "{refused:?}"
    );
    assert!(
        !state.exists(),
        "an enrolment that fails leaves nothing behind"
    );
    write("alice:p@ss@");
    assert_eq!(enroll().code, Some(0));
    let before = tunnels.load(Ordering::Relaxed);
    assert!(before >= 2, "for the anchors, and for the rest");
    let agent = rig.agent(&state, Some(&settings)).unwrap();
    wait::until("a connection", PATIENCE, || {
        let status = rig.status(&state)?;
        Ok((status["link"]["state"] == "connected").then_some(()))
    })
    .unwrap();
    agent.stop(PATIENCE).unwrap();
    assert!(tunnels.load(Ordering::Relaxed) > before);
}

/// An HTTP proxy that knows CONNECT and, of whom says who they are, alice, and how many tunnels it has made.
fn proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    drop(thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let count = Arc::clone(&count);
            drop(thread::spawn(move || {
                tunnel(client, &count);
            }));
        }
    }));
    (address, made)
}

fn tunnel(mut client: TcpStream, made: &AtomicUsize) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let proof = head
        .lines()
        .find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    if proof.is_some_and(|proof| proof != ALICE) {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        client.write_all(refusal).unwrap();
        return;
    }
    made.fetch_add(1, Ordering::Relaxed);
    let target = head.split_whitespace().nth(1).unwrap();
    let server = TcpStream::connect(target).unwrap();
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .unwrap();
    let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
    drop(thread::spawn(move || pump(back.0, back.1)));
    pump(client, server);
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    // Either side may end it; the other then hears of it.
    drop(std::io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Both));
}

/// `alice:p@ss`, as RFC 7617 wants it.
const ALICE: &str = "Basic YWxpY2U6cEBzcw==";
