//! What a host says about itself: name, system, kernel; its machine id only as a hash.

use picket_proto::v1;
use picket_seal::{Digest, Domain};

/// The facts as they are now.
pub(crate) fn facts() -> v1::HostFacts {
    let system = rustix::system::uname();
    v1::HostFacts {
        hostname: system.nodename().to_string_lossy().into_owned(),
        machine_id_hash: machine_id_hash(),
        os: os_name(&std::fs::read_to_string("/etc/os-release").unwrap_or_default()),
        kernel: system.release().to_string_lossy().into_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        takes_host_sets: true,
        fetches_content: true,
    }
}

fn machine_id_hash() -> Vec<u8> {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    match id.trim() {
        "" => Vec::new(),
        id => Digest::of_domain(Domain::MachineId, id.as_bytes())
            .as_bytes()
            .to_vec(),
    }
}

fn os_name(release: &str) -> String {
    let line = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or_default().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_names_itself() {
        let release = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(os_name(release), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(os_name(""), "");
    }
}
