//! What the signatures of a command amount to. The collector asks to tell operators early, the host to decide.

use std::time::Duration;

use picket_seal::Domain;

use super::{ActionClass, Role, Signed, TrustError, TrustRoot};
use crate::UnixNanos;
use crate::command::Command;

/// Who asked, who approved, and how many it takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// Who signed first.
    pub requester: String,
    /// Whether that is a program, which counts for nothing.
    pub automated: bool,
    /// The others who signed, each once.
    pub approvers: Vec<String>,
    /// The class that takes the most persons.
    pub class: ActionClass,
    /// How many persons it takes.
    pub needed: u32,
}

impl Standing {
    /// How many persons count.
    pub fn counted(&self) -> usize {
        let approvers = self.approvers.len();
        approvers.saturating_add(usize::from(!self.automated))
    }

    /// How many are missing.
    pub fn missing(&self) -> usize {
        let needed = usize::try_from(self.needed).unwrap_or(usize::MAX);
        needed.saturating_sub(self.counted())
    }

    /// All who signed, the requester first.
    pub fn signers(&self) -> Vec<String> {
        let requester = [self.requester.clone()].into_iter();
        requester.chain(self.approvers.iter().cloned()).collect()
    }

    fn suffices(self) -> Result<Self, TrustError> {
        if self.missing() == 0 {
            return Ok(self);
        }
        Err(TrustError::TooFew {
            class: self.class,
            got: self.counted(),
            needed: self.needed,
        })
    }
}

impl TrustRoot {
    /// Whether a command is approved by enough persons, now.
    pub fn authorize(
        &self,
        command: &Command,
        signed: Signed<'_>,
        now: UnixNanos,
    ) -> Result<Standing, TrustError> {
        self.check_open(command, now)?;
        self.weigh(command, signed)?.suffices()
    }

    /// Who signed a command and who is missing, whatever the time.
    pub fn weigh(&self, command: &Command, signed: Signed<'_>) -> Result<Standing, TrustError> {
        let (class, needed) = self.strictest(command);
        self.standing(class, needed, signed)
    }

    /// Who signed content and who is missing, whatever the time.
    pub fn weigh_content(&self, signed: Signed<'_>) -> Result<Standing, TrustError> {
        let class = ActionClass::Content;
        self.standing(class, self.threshold(class), signed)
    }

    /// Whether enough persons signed for `class`, now.
    pub fn approve(
        &self,
        class: ActionClass,
        signed: Signed<'_>,
        now: UnixNanos,
    ) -> Result<Standing, TrustError> {
        if now > self.expires {
            return Err(TrustError::Expired(self.expires));
        }
        self.standing(class, self.threshold(class), signed)?
            .suffices()
    }

    /// An expired trust root lets effects end and nothing begin.
    pub fn check_open(&self, command: &Command, now: UnixNanos) -> Result<(), TrustError> {
        if now > self.expires && !command.action.is_undo() {
            return Err(TrustError::Expired(self.expires));
        }
        Ok(())
    }

    /// How long it is still good.
    pub fn left(&self, now: UnixNanos) -> Duration {
        self.expires.since(now)
    }

    /// Whether the persons whom it names could ever make up what is missing.
    pub fn can_complete(&self, standing: &Standing) -> bool {
        let others = self.persons.iter().filter(|person| {
            person.roles.contains(&Role::Approver)
                && person.name != standing.requester
                && !standing.approvers.contains(&person.name)
        });
        others.count() >= standing.missing()
    }

    /// The class of a command that takes the most persons, and how many.
    pub fn strictest(&self, command: &Command) -> (ActionClass, u32) {
        let mut strictest = (command.class(), self.threshold(command.class()));
        let critical = self
            .touches_critical(command)
            .then_some(ActionClass::Critical);
        for class in command.classes().chain(critical) {
            let needed = self.threshold(class);
            if needed > strictest.1 {
                strictest = (class, needed);
            }
        }
        strictest
    }

    /// Whether a critical host is among the command's. Who is shown a root alone cannot know, so everybody takes it that one is, where
    /// there are any.
    fn touches_critical(&self, command: &Command) -> bool {
        let mut hosts = command.hosts.iter();
        command.class() == ActionClass::Destructive
            && !self.critical_hosts.is_empty()
            && (command.host_set.is_some() || hosts.any(|host| self.critical_hosts.contains(host)))
    }

    /// The first signature is the requester's; a person counts once, whatever they sign with.
    fn standing(
        &self,
        class: ActionClass,
        needed: u32,
        signed: Signed<'_>,
    ) -> Result<Standing, TrustError> {
        let mut standing: Option<Standing> = None;
        for signature in signed.signatures {
            let person = self.signer(signed.domain, signed.body, signature)?;
            let Some(known) = &mut standing else {
                if !person.is_any(&[first_role(signed.domain), Role::Automation]) {
                    return Err(wrong_role(&person.name, first_role(signed.domain)));
                }
                standing = Some(Standing {
                    requester: person.name.clone(),
                    automated: person.roles.contains(&Role::Automation),
                    approvers: Vec::new(),
                    class,
                    needed,
                });
                continue;
            };
            if known.requester == person.name || known.approvers.contains(&person.name) {
                continue;
            }
            if !person.roles.contains(&Role::Approver) {
                return Err(wrong_role(&person.name, Role::Approver));
            }
            known.approvers.push(person.name.clone());
        }
        standing.ok_or(TrustError::TooFew {
            class,
            got: 0,
            needed,
        })
    }
}

/// What whoever asks has to be.
const fn first_role(domain: Domain) -> Role {
    match domain {
        Domain::Command => Role::Requester,
        _ => Role::Content,
    }
}

pub(super) fn wrong_role(person: &str, role: Role) -> TrustError {
    let person = person.to_owned();
    TrustError::WrongRole { person, role }
}
