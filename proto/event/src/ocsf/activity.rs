//! Classes and activities, and what a kind of event was made into.

use std::borrow::Cow;

use super::part::Part;

/// A class of OCSF.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    pub(super) uid: u32,
    pub(super) name: &'static str,
    pub(super) category: Category,
    /// Whether it cannot be without an actor.
    pub(super) needs_actor: bool,
}

/// A category of classes: its number and name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Category(pub(super) u32, pub(super) &'static str);

const SYSTEM: Category = Category(1, "System Activity");
const FINDINGS: Category = Category(2, "Findings");
const IDENTITY: Category = Category(3, "Identity & Access Management");
const NETWORK: Category = Category(4, "Network Activity");
const APPLICATION: Category = Category(6, "Application Activity");
const REMEDIATION: Category = Category(7, "Remediation");

const fn class(uid: u32, name: &'static str, category: Category, needs_actor: bool) -> Class {
    Class {
        uid,
        name,
        category,
        needs_actor,
    }
}

pub(super) const FILE: Class = class(1001, "File System Activity", SYSTEM, true);
pub(super) const KERNEL_EXTENSION: Class = class(1002, "Kernel Extension Activity", SYSTEM, true);
pub(super) const KERNEL: Class = class(1003, "Kernel Activity", SYSTEM, true);
pub(super) const MEMORY: Class = class(1004, "Memory Activity", SYSTEM, true);
pub(super) const SCHEDULED_JOB: Class = class(1006, "Scheduled Job Activity", SYSTEM, false);
pub(super) const PROCESS: Class = class(1007, "Process Activity", SYSTEM, true);
pub(super) const SCRIPT: Class = class(1009, "Script Activity", SYSTEM, true);
pub(super) const PERIPHERAL: Class = class(1010, "Peripheral Activity", SYSTEM, true);
pub(super) const FINDING: Class = class(2004, "Detection Finding", FINDINGS, false);
pub(super) const ACCOUNT_CHANGE: Class = class(3001, "Account Change", IDENTITY, false);
pub(super) const AUTHENTICATION: Class = class(3002, "Authentication", IDENTITY, false);
pub(super) const USER_ACCESS: Class = class(3005, "User Access Management", IDENTITY, false);
pub(super) const CONNECTION: Class = class(4001, "Network Activity", NETWORK, false);
pub(super) const DNS: Class = class(4003, "DNS Activity", NETWORK, false);
pub(super) const LIFECYCLE: Class = class(6002, "Application Lifecycle", APPLICATION, false);
pub(super) const ERROR: Class = class(6008, "Application Error", APPLICATION, false);
pub(super) const REMEDY: Class = class(7001, "Remediation Activity", REMEDIATION, false);
pub(super) const PROCESS_REMEDY: Class =
    class(7003, "Process Remediation Activity", REMEDIATION, false);
pub(super) const NETWORK_REMEDY: Class =
    class(7004, "Network Remediation Activity", REMEDIATION, false);

/// What an event becomes, without what every event has.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    pub(super) class: Class,
    pub(super) activity: (u32, Cow<'static, str>),
    /// The attributes of the class.
    pub(super) attributes: Part,
    /// What the detail knows of the actor, beyond the process.
    pub(super) actor: Part,
    /// The paths of our JSON that the attributes hold in full.
    pub(super) taken: &'static [&'static str],
}

impl Mapped {
    pub(super) fn new(class: Class, activity: (u32, &'static str)) -> Self {
        Self {
            class,
            activity: (activity.0, Cow::Borrowed(activity.1)),
            attributes: Part::new(),
            actor: Part::new(),
            taken: &[],
        }
    }

    /// An activity that OCSF has no number for.
    pub(super) fn other(class: Class, name: &str) -> Self {
        let name = if name.is_empty() { "Other" } else { name };
        Self {
            activity: (99, Cow::Owned(name.to_owned())),
            ..Self::new(class, (99, "Other"))
        }
    }

    pub(super) fn with(mut self, attributes: Part) -> Self {
        self.attributes = self.attributes.with(attributes);
        self
    }

    pub(super) fn by(mut self, actor: Part) -> Self {
        self.actor = actor;
        self
    }

    pub(super) fn taking(mut self, taken: &'static [&'static str]) -> Self {
        self.taken = taken;
        self
    }

    /// Success or failure by what a system call returned, where that is known.
    pub(super) fn result(self, result: Option<i32>) -> Self {
        match result {
            None => self,
            Some(result) if result >= 0 => self.with(status(true)),
            Some(errno) => {
                let code = errno.unsigned_abs().to_string();
                let detail = format!("errno {code}");
                let failed = status(false).put("status_code", code);
                self.with(failed.put("status_detail", detail))
            }
        }
    }
}

pub(super) fn status(success: bool) -> Part {
    let (id, name) = if success {
        (1, "Success")
    } else {
        (2, "Failure")
    };
    Part::new().put("status_id", id).put("status", name)
}
