//! Open sockets of TCP and UDP, as the kernel lists them, with who holds each.
//!
//! What stays true: sockets are those of the agent's own network namespace, which is the host's.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::look::{Line, Look};
use super::processes::Process;

/// Lists of the kernel.
const LISTS: [&str; 4] = ["tcp", "tcp6", "udp", "udp6"];
/// The most of one list.
const MAX_LINES: usize = 65_536;
/// States of TCP by the kernel's numbers, from 1.
const STATES: [&str; 12] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "new_syn_recv",
];

/// One line for each socket, and what is missing.
pub(super) fn all(look: &Look, processes: &[Process]) -> (Vec<u8>, &'static str) {
    let (holders, complete) = holders(look, processes);
    let mut lines = Vec::new();
    for list in LISTS {
        let path = look.below(&format!("/proc/self/net/{list}"));
        let text = fs::read_to_string(path).unwrap_or_default();
        let sockets = text.lines().skip(1).take(MAX_LINES);
        for socket in sockets.filter_map(parse) {
            lines.extend(socket.line(list, &holders));
        }
    }
    let note = if complete {
        ""
    } else {
        "the time was over before the last process was asked for its sockets"
    };
    (lines, note)
}

/// Processes by the number of a socket.
fn holders(look: &Look, processes: &[Process]) -> (HashMap<u64, Vec<u32>>, bool) {
    let mut holders: HashMap<u64, Vec<u32>> = HashMap::new();
    for one in processes.iter().filter(|one| !one.found.kernel) {
        if look.is_over() {
            return (holders, false);
        }
        let folder = look.below(&format!("/proc/{}/fd", one.found.pid));
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
        for inode in links.filter_map(|link| inode(link.to_str()?)) {
            let pids = holders.entry(inode).or_default();
            if pids.last() != Some(&one.found.pid) {
                pids.push(one.found.pid);
            }
        }
    }
    (holders, true)
}

fn inode(link: &str) -> Option<u64> {
    let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

/// One socket.
#[derive(Debug, Eq, PartialEq)]
struct Socket {
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    state: u8,
    user: u32,
    inode: u64,
}

impl Socket {
    fn line(&self, list: &str, holders: &HashMap<u64, Vec<u32>>) -> Vec<u8> {
        let state = usize::from(self.state).checked_sub(1);
        let state = state.and_then(|index| STATES.get(index)).copied();
        let pids = holders.get(&self.inode).cloned().unwrap_or_default();
        let end = |(ip, port): (IpAddr, u16)| std::net::SocketAddr::new(ip, port).to_string();
        let mut line = Line::default()
            .with("protocol", list)
            .with("local", end(self.local))
            .with("remote", end(self.remote));
        if list.starts_with("tcp") {
            line = line.with("state", state.unwrap_or("unknown"));
        }
        line.with("user_id", self.user)
            .with("inode", self.inode)
            .with("pids", pids)
            .end()
    }
}

/// `slot: local remote state queues timer retransmits uid timeout inode ...`
fn parse(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Socket {
        local: place(local)?,
        remote: place(remote)?,
        state: u8::from_str_radix(state, 16).ok()?,
        user: fields.nth(3)?.parse().ok()?,
        inode: fields.nth(1)?.parse().ok()?,
    })
}

/// `0100007F:1F90`: words of four bytes, each in the machine's own order.
fn place(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let bytes = hex::decode(address).ok()?;
    let words = bytes.chunks_exact(4).flat_map(|word| word.iter().rev());
    let bytes: Vec<u8> = words.copied().collect();
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some((IpAddr::V4(Ipv4Addr::from(four)), port));
    }
    let sixteen = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some((IpAddr::V6(Ipv6Addr::from(sixteen)), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   997        0 4242 1 0 100 0 0 10 0";
        let socket = parse(line).unwrap();
        assert_eq!(socket.local, ("127.0.0.1".parse().unwrap(), 8080));
        assert_eq!((socket.state, socket.user, socket.inode), (10, 997, 4242));
        let line = "1: 00000000000000000000000001000000:0016 B80D0120000000000000000001000000:C001 01 0:0 0:0 0 0 0 7";
        let socket = parse(line).unwrap();
        assert_eq!(socket.local, ("::1".parse().unwrap(), 22));
        assert_eq!(socket.remote, ("2001:db8::1".parse().unwrap(), 49153));
    }

    #[test]
    fn odd_lines_are_no_sockets() {
        for line in ["", "0:", "0: x:1 y:2 0A", "0: 01:0 01:0 01 0 0 0 0 0 0"] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!((inode("socket:[7]"), inode("pipe:[7]")), (Some(7), None));
    }
}
