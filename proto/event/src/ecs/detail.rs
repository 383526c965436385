//! What happened: `file`, `source`, `destination`, `network`, `dns`, `user`, and the outcome.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::process::name_of;
use super::tree::Tree;
use crate::{Detail, Dns, File, Kind, Login, Network, Text};

/// The fields that ECS has for it; everything else is under `picket`.
pub(super) fn detail(tree: &mut Tree, kind: Kind, detail: &Detail) {
    match detail {
        Detail::File(it) => file(tree, kind, it),
        Detail::Network(it) => network(tree, kind, it),
        Detail::Dns(it) => dns(tree, it),
        Detail::Login(it) => login(tree, kind, it),
        Detail::Exit(it) => {
            tree.maybe("process.exit_code", it.code);
            tree.maybe("event.duration", it.duration_ns);
        }
        Detail::ExecFailed(it) => {
            path(tree, &it.path);
            outcome(tree, Some(it.result));
        }
        Detail::Script(it) => {
            path(tree, &it.path);
            let hash = it.sha256.map(|hash| hex::encode(hash.as_bytes()));
            tree.maybe("file.hash.sha256", hash);
            tree.maybe("file.size", it.size);
        }
        Detail::ScheduledJob(it) => path(tree, &it.path),
        Detail::AccountChange(it) => {
            path(tree, &it.path);
            tree.text("user.target.name", &it.account);
        }
        _ => {}
    }
}

fn path(tree: &mut Tree, path: &Text) {
    tree.text("file.path", path);
    tree.maybe("file.name", name_of(path));
}

fn file(tree: &mut Tree, kind: Kind, file: &File) {
    match kind {
        Kind::FileRename => {
            path(tree, &file.new_path);
            tree.text("file.origin_path", &file.path);
        }
        Kind::FileLink => {
            path(tree, &file.new_path);
            tree.text("file.target_path", &file.path);
        }
        _ => path(tree, &file.path),
    }
    tree.maybe("file.inode", file.inode.map(|inode| inode.to_string()));
    tree.maybe("file.size", file.size);
    let mode = file.mode.map(|mode| format!("{:04o}", mode & 0o7777));
    tree.maybe("file.mode", mode);
    tree.maybe("file.uid", file.owner_uid.map(|uid| uid.to_string()));
    tree.maybe("file.gid", file.owner_gid.map(|gid| gid.to_string()));
    let hash = file.sha256_after.map(|hash| hex::encode(hash.as_bytes()));
    tree.maybe("file.hash.sha256", hash);
    outcome(tree, file.result.or(Some(0)));
}

fn network(tree: &mut Tree, kind: Kind, network: &Network) {
    let local = (network.local_ip, network.local_port);
    let remote = (network.remote_ip, network.remote_port);
    let (source, destination) = match (kind, network.direction.as_str()) {
        (Kind::NetListen, _) => ((None, 0), local),
        (_, "inbound") => (remote, local),
        _ => (local, remote),
    };
    endpoint(tree, "source", source);
    endpoint(tree, "destination", destination);
    tree.word("network.transport", &network.proto);
    let direction = match network.direction.as_str() {
        "inbound" => "ingress",
        "outbound" => "egress",
        other => other,
    };
    tree.word("network.direction", direction);
    let (ours, theirs) = if network.direction == "inbound" {
        ("destination.bytes", "source.bytes")
    } else {
        ("source.bytes", "destination.bytes")
    };
    tree.maybe(ours, network.bytes_out);
    tree.maybe(theirs, network.bytes_in);
    if let (Some(received), Some(sent)) = (network.bytes_in, network.bytes_out) {
        tree.put("network.bytes", received.saturating_add(sent));
    }
    if let Some(ip) = network.remote_ip.or(network.local_ip) {
        tree.put("network.type", if ip.is_ipv4() { "ipv4" } else { "ipv6" });
    }
    // A connection that does not wait for its end goes on; it did not fail.
    outcome(tree, network.result.filter(|result| *result != IN_PROGRESS));
}

const IN_PROGRESS: i32 = -115;

fn endpoint(tree: &mut Tree, end: &str, (ip, port): (Option<IpAddr>, u32)) {
    let ip = ip.map(|ip| ip.to_string());
    tree.maybe(&format!("{end}.address"), ip.clone());
    tree.maybe(&format!("{end}.ip"), ip);
    tree.maybe(&format!("{end}.port"), (port != 0).then_some(port));
}

fn dns(tree: &mut Tree, dns: &Dns) {
    tree.put("network.protocol", "dns");
    tree.put("dns.type", if dns.response { "answer" } else { "query" });
    tree.text("dns.question.name", &dns.query);
    tree.word("dns.question.type", &dns.record_type);
    let answers = dns.answers.iter().map(|data| json!({"data": data}));
    tree.list("dns.answers", answers.collect());
    let addresses = dns
        .answers
        .iter()
        .filter(|data| data.parse::<IpAddr>().is_ok());
    let addresses: Vec<Value> = addresses.map(|data| json!(data)).collect();
    tree.list("dns.resolved_ip", addresses);
    tree.maybe("dns.response_code", dns.rcode.map(code));
    endpoint(tree, "destination", (dns.server_ip, 0));
}

/// As the registry of DNS names it.
fn code(rcode: u32) -> String {
    let known = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
    ];
    let name = usize::try_from(rcode).ok().and_then(|at| known.get(at));
    name.map_or_else(|| rcode.to_string(), |name| (*name).to_owned())
}

fn login(tree: &mut Tree, kind: Kind, login: &Login) {
    tree.text("user.name", &login.user);
    match kind {
        Kind::AccountSwitch => tree.text("user.effective.name", &login.target_user),
        _ => tree.text("user.target.name", &login.target_user),
    }
    if let Ok(ip) = login.source_ip.parse::<IpAddr>() {
        tree.put("source.ip", ip.to_string());
    }
    tree.word("source.address", &login.source_ip);
    tree.text("source.domain", &login.source_host);
    tree.maybe("source.port", login.source_port);
    tree.word("process.name", &login.service);
    if !login.command.lossy().is_empty() {
        tree.text("process.command_line", &login.command);
    }
    if matches!(login.outcome.as_str(), "success" | "failure") {
        tree.put("event.outcome", login.outcome.as_str());
    }
}

/// Of a result of the kernel: 0 or a positive number, or a negative errno.
fn outcome(tree: &mut Tree, result: Option<i32>) {
    let word = result.map(|result| if result < 0 { "failure" } else { "success" });
    tree.maybe("event.outcome", word);
}
