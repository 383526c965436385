//! Paths and addresses reduced to what stays the same from day to day.

use std::net::IpAddr;

/// The class of the directory that a path lies in: at most three components, the volatile ones
/// replaced; `None` for what is no absolute path.
///
/// `/home/ann/.ssh/id_rsa` gives `/home/*/.ssh`, `/proc/17/mem` gives `/proc/#`,
/// `/tmp/build/x/y` gives `/tmp`.
pub(crate) fn directory_class(path: &[u8]) -> Option<Vec<u8>> {
    let path = path.get(..MOST_BYTES).unwrap_or(path);
    let end = path.iter().rposition(|byte| *byte == b'/')?;
    let directory = path.get(..end).filter(|_| path.starts_with(b"/"))?;
    Some(class(directory))
}

/// The class of a directory itself.
pub(crate) fn class_of_directory(directory: &[u8]) -> Option<Vec<u8>> {
    let directory = directory.get(..MOST_BYTES).unwrap_or(directory);
    directory.starts_with(b"/").then(|| class(directory))
}

/// A program's path with its volatile components replaced, so that one program in a fresh temporary
/// directory is the same program every time.
pub(crate) fn program(path: &[u8]) -> Vec<u8> {
    let path = path.get(..MOST_BYTES).unwrap_or(path);
    let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').map(stable).collect();
    components.join(&b'/')
}

fn class(directory: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let components = directory
        .split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty());
    let mut depth = MOST_DEPTH;
    for (place, component) in components
        .enumerate()
        .take_while(|(place, _)| *place < MOST_DEPTH)
    {
        if place >= depth {
            break;
        }
        let home = place == 1 && out == b"/home";
        out.push(b'/');
        out.extend_from_slice(if home { b"*" } else { stable(component) });
        depth = depth.min(depth_below(&out));
    }
    if out.is_empty() { b"/".to_vec() } else { out }
}

/// How many components are kept under a directory.
fn depth_below(directory: &[u8]) -> usize {
    match directory {
        b"/tmp" => 1,
        b"/var/tmp" | b"/dev/shm" => 2,
        _ => MOST_DEPTH,
    }
}

/// A component that looks like a number, a hash, an identifier or a temporary name is replaced.
fn stable(component: &[u8]) -> &[u8] {
    let component = component.get(..MOST_COMPONENT).unwrap_or(component);
    let digits = component
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .count();
    let hexadecimal = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    let number = digits == component.len();
    let identifier = component.len() >= 8 && component.iter().all(hexadecimal);
    if digits > 0 && (number || identifier) {
        b"#"
    } else if component.len() >= 8 && component.starts_with(b"tmp") {
        b"tmp#"
    } else {
        component
    }
}

/// The network of an address: /24, /48, or the loopback as a whole.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        address if address.is_loopback() => "loopback".to_owned(),
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

/// Longest path that Linux takes.
const MOST_BYTES: usize = 4096;
/// Longest component that Linux takes.
const MOST_COMPONENT: usize = 255;
/// Components of a class.
const MOST_DEPTH: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(path: &str) -> String {
        let class = directory_class(path.as_bytes());
        class.map_or_else(
            || "none".to_owned(),
            |class| String::from_utf8_lossy(&class).into_owned(),
        )
    }

    #[test]
    fn a_directory_class_keeps_what_stays_the_same() {
        for (path, class) in [
            ("/etc/cron.d/job", "/etc/cron.d"),
            ("/home/ann/.ssh/authorized_keys", "/home/*/.ssh"),
            ("/proc/4711/mem", "/proc/#"),
            ("/tmp/a/b/c", "/tmp"),
            ("/dev/shm/x/y", "/dev/shm"),
            ("/var/lib/docker/overlay2/3f2a/x", "/var/lib/docker"),
            ("/var/spool/6f1c2d3e-aaaa/x", "/var/spool/#"),
            ("/vmlinuz", "/"),
            ("relative", "none"),
            ("", "none"),
            ("a/b", "none"),
        ] {
            assert_eq!(class_of(path), class, "{path}");
        }
    }

    #[test]
    fn a_program_in_a_fresh_temporary_directory_is_the_same_program() {
        assert_eq!(
            program(b"/tmp/tmp.Xq81zz/configure"),
            b"/tmp/tmp#/configure"
        );
        assert_eq!(program(b"/usr/bin/python3.11"), b"/usr/bin/python3.11");
        assert_eq!(
            program(b"/usr/bin/x86_64-linux-gnu-gcc-12"),
            b"/usr/bin/x86_64-linux-gnu-gcc-12"
        );
    }

    #[test]
    fn addresses_of_one_network_meet() {
        let network_of = |text: &str| network(text.parse().unwrap());
        assert_eq!(network_of("203.0.113.7"), network_of("203.0.113.250"));
        assert_eq!(network_of("2001:db8:1:2::3"), "2001:db8:1::/48");
        assert_eq!(network_of("::ffff:203.0.113.7"), "203.0.113.0/24");
        assert_eq!(network_of("127.0.0.2"), "loopback");
    }
}
