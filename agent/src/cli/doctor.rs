//! `doctor`: says where it runs, opens the sensors and says hook by hook what works, and what is used in place of the rest.

use std::path::Path;

use picket_event::{Hook, HookState};
use serde_json::json;

use super::DoctorArgs;
use super::output::{Output, Reader};
use crate::clock;
use crate::config::Config;
use crate::failure::Failure;
use crate::health::{self, hook_json};
use crate::pipeline::sensors;
use picket_sensor::device::DeviceFollower;
use picket_sensor::{Sensor as _, open_audit, open_ebpf, open_portable};

mod place;

use place::Place;

/// Says what works here.
pub(super) fn doctor(arguments: &DoctorArgs) -> Result<(), Failure> {
    health::log_to_stderr("error");
    let config = Config::load(arguments.config.as_deref())?;
    let boot = clock::boot_id();
    let kernel = sensors::probe(open_ebpf, &config, boot);
    let audit = sensors::probe(open_audit, &config, boot);
    let mut groups = Vec::new();
    if kernel.is_err() && audit.is_err() {
        let portable = sensors::probe(open_portable, &config, boot);
        let portable =
            portable.unwrap_or_else(|reason| vec![no_sensor("portable sensor", reason, "nothing")]);
        groups.push(("portable", portable));
    }
    let lesser = if audit.is_ok() { "audit" } else { "portable" };
    let audit = audit.unwrap_or_else(|reason| vec![no_sensor("audit sensor", reason, "portable")]);
    let kernel = kernel.unwrap_or_else(|reason| vec![no_sensor("kernel sensor", reason, lesser)]);
    groups.splice(0..0, [("ebpf", kernel), ("audit", audit)]);
    let mut logins = sensors::open_logins(boot, None);
    logins.begin();
    groups.push(("login", logins.hooks()));
    groups.push(("device", DeviceFollower::open().hooks()));
    let blocks = blocks(groups.iter().flat_map(|(_, hooks)| hooks));
    groups.push(("contain", vec![isolation(), blocks]));
    let place = Place::look(Path::new("/"));
    print(&place, &groups, arguments.json)
}

/// Whether this host could be cut off.
fn isolation() -> Hook {
    let asked = picket_isolation::Table::open().and_then(|mut table| table.exists());
    let (state, detail) = match asked {
        Ok(false) => (HookState::Attached, String::new()),
        Ok(true) => (
            HookState::Attached,
            "the table of an isolation is there".to_owned(),
        ),
        Err(error) => (HookState::Unavailable, crate::failure::chain(&error)),
    };
    Hook {
        name: "isolation".to_owned(),
        state,
        detail,
        instead: String::new(),
    }
}

/// What becomes of a program of a blocked content. `hooks` are those of the sensors.
fn blocks<'a>(hooks: impl Iterator<Item = &'a Hook>) -> Hook {
    let mut hooks = hooks.filter(|hook| hook.name == "block");
    let (state, why) = match hooks.next() {
        Some(hook) => (hook.state, hook.detail.clone()),
        None => (
            HookState::Unavailable,
            "without the kernel sensor nothing refuses programs".to_owned(),
        ),
    };
    let (detail, instead) = match state {
        HookState::Proved => (
            "the kernel refuses files that are known to have the content; others are killed as they start"
                .to_owned(),
            "",
        ),
        _ => (format!("not prevented: {why}"), "killed as they start"),
    };
    Hook {
        name: "block-hash".to_owned(),
        state,
        detail,
        instead: instead.to_owned(),
    }
}

fn no_sensor(name: &str, reason: String, instead: &str) -> Hook {
    Hook {
        name: name.to_owned(),
        state: HookState::Unavailable,
        detail: reason,
        instead: instead.to_owned(),
    }
}

fn print(place: &Place, groups: &[(&str, Vec<Hook>)], as_json: bool) -> Result<(), Failure> {
    let mut out = Output::new();
    let hooks = groups
        .iter()
        .flat_map(|(backend, hooks)| hooks.iter().map(move |hook| (*backend, hook)));
    let hooks = hooks.map(|(backend, hook)| {
        if as_json {
            json_line(backend, hook)
        } else {
            people_line(backend, hook)
        }
    });
    for line in place.lines(as_json).into_iter().chain(hooks) {
        if out.line(&line)? == Reader::Gone {
            return Ok(());
        }
    }
    out.flush().map(drop)
}

fn json_line(backend: &str, hook: &Hook) -> String {
    let mut value = hook_json(hook);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("backend".to_owned(), json!(backend));
    }
    value.to_string()
}

fn people_line(backend: &str, hook: &Hook) -> String {
    let safe = |text: &str| picket_event::Text::from(text).for_terminal();
    let mut line = format!(
        "{backend:<9} {:<28} {:<12}",
        safe(&hook.name),
        hook.state.name()
    );
    if !hook.detail.is_empty() {
        line.push_str(&safe(&hook.detail));
    }
    if !hook.instead.is_empty() {
        line.push_str(" -> ");
        line.push_str(&safe(&hook.instead));
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(name: &str, state: HookState, detail: &str) -> Hook {
        Hook {
            name: name.to_owned(),
            state,
            detail: detail.to_owned(),
            instead: String::new(),
        }
    }

    #[test]
    fn it_says_whether_blocked_programs_are_prevented_and_why_not() {
        let exec = hook("exec", HookState::Proved, "canary came back");
        let proved = [
            exec.clone(),
            hook("block", HookState::Proved, "canary came back"),
        ];
        let said = blocks(proved.iter());
        assert!(
            said.detail
                .starts_with("the kernel refuses files that are known")
        );
        assert_eq!((said.state, said.instead.as_str()), (HookState::Proved, ""));
        let refused = [
            exec,
            hook("block", HookState::Unavailable, "BPF LSM is not active"),
        ];
        let said = blocks(refused.iter());
        assert_eq!(said.detail, "not prevented: BPF LSM is not active");
        assert_eq!(said.instead, "killed as they start");
        let unsure = [hook(
            "block",
            HookState::Attached,
            "its canary did not come back",
        )];
        let said = blocks(unsure.iter());
        assert_eq!(said.instead, "killed as they start");
        let said = blocks([].iter());
        assert_eq!(said.state, HookState::Unavailable);
    }
}
