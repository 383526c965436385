//! Which container a control group belongs to, by the ways in which runtimes name theirs.

/// The container's id: 64 hexadecimal digits, or the name that LXC and systemd-nspawn give.
pub(crate) fn of_cgroup(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    path.rsplit('/').find_map(of_component)
}

fn of_component(component: &str) -> Option<String> {
    if let Some(name) = component.strip_prefix("lxc.payload.") {
        return Some(name.to_owned());
    }
    let stem = component.strip_suffix(".scope").unwrap_or(component);
    if let Some(name) = stem.strip_prefix("machine-") {
        return Some(name.to_owned());
    }
    let id = stem.rsplit(['-', ':']).next().unwrap_or(stem);
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_runtimes_are_recognised() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/kubepods/besteffort/pod9/{id}"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/system.slice/containerd.service/kubepods-x.slice:cri-containerd:{id}"),
        ] {
            assert_eq!(of_cgroup(path.as_bytes()), Some(id.clone()), "{path}");
        }
        assert_eq!(
            of_cgroup(b"/lxc.payload.web/init.scope").as_deref(),
            Some("web")
        );
    }

    #[test]
    fn a_plain_service_is_no_container() {
        for path in [
            "/",
            "",
            "/user.slice/user-1000.slice/session-3.scope",
            "/init.scope",
        ] {
            assert_eq!(of_cgroup(path.as_bytes()), None, "{path}");
        }
        assert_eq!(of_cgroup(b"\xff/\xfe"), None);
    }
}
