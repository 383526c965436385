//! The factors: what is asked about an event, in fixed words and with fixed constants.
//!
//! Names and alphabets are part of the explanation's format: a score can be computed again only by
//! a program that knows the factor by the same name and alphabet. A factor never changes its meaning;
//! a new meaning gets a new name.

use std::borrow::Cow;

use crate::command::line;
use crate::surprise::{Bits, Counts, probability};

/// One question: how likely is this value in this context?
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Factor {
    ChildOfParent,
    ProgramDirectory,
    UserOfProgram,
    TerminalOfProgram,
    WorkingDirectory,
    FlagsOfProgram,
    FileDirectory,
    ProgramInDirectory,
    ReaderOfSecret,
    SecretOfProgram,
    Destination,
    Peer,
    ListeningPort,
    SourceOfUser,
    SourceNameOfUser,
    UserOfSource,
    MethodOfUser,
    ServiceOfUser,
    AccountOfUser,
    RefusalsBefore,
    UsersTried,
    AbsenceByService,
    CommandLine,
    HourOfUser,
}

/// What one context below the factor's own knows, by name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Level<'n> {
    /// Which context, as explanations name it.
    pub(crate) name: Cow<'n, str>,
    /// What it knows.
    pub(crate) counts: Counts,
}

/// The fixed words and constants of a factor.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Its name in explanations.
    pub(crate) name: &'static str,
    /// How many values the uniform distribution below all levels has.
    pub(crate) alphabet: u32,
    /// How many factors the events that have it had, before explanations said so themselves.
    pub(crate) of: u32,
    /// The more general contexts, by name, in order.
    pub(crate) backoff: &'static [&'static str],
    /// What the context did with its values, as `has started`.
    pub(crate) verb: &'static str,
    /// One value and several.
    pub(crate) noun: [&'static str; 2],
    /// One sighting and several.
    pub(crate) sighting: [&'static str; 2],
}

impl Factor {
    /// Every factor; the place is part of the keys of the table and of the snapshot.
    pub(crate) const ALL: [Self; 24] = [
        Self::ChildOfParent,
        Self::ProgramDirectory,
        Self::UserOfProgram,
        Self::TerminalOfProgram,
        Self::WorkingDirectory,
        Self::FlagsOfProgram,
        Self::FileDirectory,
        Self::ProgramInDirectory,
        Self::ReaderOfSecret,
        Self::SecretOfProgram,
        Self::Destination,
        Self::Peer,
        Self::ListeningPort,
        Self::SourceOfUser,
        Self::SourceNameOfUser,
        Self::UserOfSource,
        Self::MethodOfUser,
        Self::ServiceOfUser,
        Self::AccountOfUser,
        Self::RefusalsBefore,
        Self::UsersTried,
        Self::AbsenceByService,
        Self::CommandLine,
        Self::HourOfUser,
    ];

    /// The factor of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|factor| factor.facts().name == name)
    }

    /// Its place in [`Factor::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Its words and constants.
    pub(crate) const fn facts(self) -> &'static Facts {
        match self {
            Self::ChildOfParent => &CHILD_OF_PARENT,
            Self::ProgramDirectory => &PROGRAM_DIRECTORY,
            Self::UserOfProgram => &USER_OF_PROGRAM,
            Self::TerminalOfProgram => &TERMINAL_OF_PROGRAM,
            Self::WorkingDirectory => &WORKING_DIRECTORY,
            Self::FlagsOfProgram => &FLAGS_OF_PROGRAM,
            Self::FileDirectory => &FILE_DIRECTORY,
            Self::ProgramInDirectory => &PROGRAM_IN_DIRECTORY,
            Self::ReaderOfSecret => &READER_OF_SECRET,
            Self::SecretOfProgram => &SECRET_OF_PROGRAM,
            Self::Destination => &DESTINATION,
            Self::Peer => &PEER,
            Self::ListeningPort => &LISTENING_PORT,
            Self::SourceOfUser => &SOURCE_OF_USER,
            Self::SourceNameOfUser => &SOURCE_NAME_OF_USER,
            Self::UserOfSource => &USER_OF_SOURCE,
            Self::MethodOfUser => &METHOD_OF_USER,
            Self::ServiceOfUser => &SERVICE_OF_USER,
            Self::AccountOfUser => &ACCOUNT_OF_USER,
            Self::RefusalsBefore => &REFUSALS_BEFORE,
            Self::UsersTried => &USERS_TRIED,
            Self::AbsenceByService => &ABSENCE_BY_SERVICE,
            Self::CommandLine => &COMMAND_LINE,
            Self::HourOfUser => &HOUR_OF_USER,
        }
    }

    /// The surprise of a value, from what its context knows and what the levels below it do.
    pub(crate) fn bits(self, special: Counts, levels: &[Level<'_>]) -> Bits {
        if self == Self::CommandLine {
            return line::bits(levels);
        }
        let general = levels.iter().map(|level| level.counts);
        let all = std::iter::once(special).chain(general);
        Bits::of(probability(all, self.facts().alphabet))
    }
}

static CHILD_OF_PARENT: Facts = Facts {
    name: "child of parent",
    alphabet: 1_024,
    of: 6,
    backoff: &["any parent"],
    verb: "has started",
    noun: ["program", "programs"],
    sighting: ["start", "starts"],
};

static PROGRAM_DIRECTORY: Facts = Facts {
    name: "program directory of parent",
    alphabet: 256,
    of: 6,
    backoff: &["any parent"],
    verb: "has started programs from",
    noun: ["directory", "directories"],
    sighting: ["start", "starts"],
};

static USER_OF_PROGRAM: Facts = Facts {
    name: "user of program",
    alphabet: 256,
    of: 6,
    backoff: &["any program"],
    verb: "has run as",
    noun: ["user", "users"],
    sighting: ["run", "runs"],
};

static TERMINAL_OF_PROGRAM: Facts = Facts {
    name: "terminal of program",
    alphabet: 2,
    of: 6,
    backoff: &["any program"],
    verb: "has run with",
    noun: ["kind of terminal", "kinds of terminal"],
    sighting: ["run", "runs"],
};

static WORKING_DIRECTORY: Facts = Facts {
    name: "working directory of program",
    alphabet: 256,
    of: 6,
    backoff: &["any program"],
    verb: "has run in",
    noun: ["directory", "directories"],
    sighting: ["run", "runs"],
};

static FLAGS_OF_PROGRAM: Facts = Facts {
    name: "flags of program",
    alphabet: 1_024,
    of: 6,
    backoff: &["any program"],
    verb: "has run with",
    noun: ["set of flags", "sets of flags"],
    sighting: ["run", "runs"],
};

static FILE_DIRECTORY: Facts = Facts {
    name: "directory changed by program",
    alphabet: 256,
    of: 2,
    backoff: &["any program"],
    verb: "has changed files in",
    noun: ["directory", "directories"],
    sighting: ["change", "changes"],
};

static PROGRAM_IN_DIRECTORY: Facts = Facts {
    name: "program changing directory",
    alphabet: 1_024,
    of: 2,
    backoff: &["any directory"],
    verb: "has been changed by",
    noun: ["program", "programs"],
    sighting: ["change", "changes"],
};

static READER_OF_SECRET: Facts = Facts {
    name: "program opening secret",
    alphabet: 1_024,
    of: 2,
    backoff: &["any secret"],
    verb: "has been opened by",
    noun: ["program", "programs"],
    sighting: ["opening", "openings"],
};

static SECRET_OF_PROGRAM: Facts = Facts {
    name: "secret opened by program",
    alphabet: 256,
    of: 2,
    backoff: &["any program"],
    verb: "has opened",
    noun: ["secret", "secrets"],
    sighting: ["opening", "openings"],
};

static DESTINATION: Facts = Facts {
    name: "destination of program",
    alphabet: 256,
    of: 1,
    backoff: &["this program, port only", "any program, port only"],
    verb: "has connected to",
    noun: ["destination", "destinations"],
    sighting: ["connection", "connections"],
};

static PEER: Facts = Facts {
    name: "peer of program",
    alphabet: 256,
    of: 1,
    backoff: &["this program, port only", "any program, port only"],
    verb: "has taken connections from",
    noun: ["peer", "peers"],
    sighting: ["connection", "connections"],
};

static LISTENING_PORT: Facts = Facts {
    name: "listening port of program",
    alphabet: 256,
    of: 1,
    backoff: &["any program"],
    verb: "has listened on",
    noun: ["port", "ports"],
    sighting: ["time", "times"],
};

static SOURCE_OF_USER: Facts = Facts {
    name: "source of user",
    alphabet: 256,
    of: 7,
    backoff: &["this user, network only", "any user, network only"],
    verb: "has logged in from",
    noun: ["source", "sources"],
    sighting: ["login", "logins"],
};

static SOURCE_NAME_OF_USER: Facts = Facts {
    name: "source name of user",
    alphabet: 256,
    of: 7,
    backoff: &["any user"],
    verb: "has logged in from",
    noun: ["source", "sources"],
    sighting: ["login", "logins"],
};

static USER_OF_SOURCE: Facts = Facts {
    name: "user of source",
    alphabet: 256,
    of: 7,
    backoff: &["any source"],
    verb: "has logged in as",
    noun: ["user", "users"],
    sighting: ["login", "logins"],
};

static METHOD_OF_USER: Facts = Facts {
    name: "method of user",
    alphabet: 16,
    of: 7,
    backoff: &["any user"],
    verb: "has logged in by",
    noun: ["method", "methods"],
    sighting: ["login", "logins"],
};

static SERVICE_OF_USER: Facts = Facts {
    name: "service of user",
    alphabet: 64,
    of: 7,
    backoff: &["any user"],
    verb: "has logged in through",
    noun: ["service", "services"],
    sighting: ["login", "logins"],
};

static ACCOUNT_OF_USER: Facts = Facts {
    name: "account taken by user",
    alphabet: 256,
    of: 1,
    backoff: &["any user"],
    verb: "has become",
    noun: ["user", "users"],
    sighting: ["switch", "switches"],
};

static REFUSALS_BEFORE: Facts = Facts {
    name: "refusals before login",
    alphabet: 6,
    of: 7,
    backoff: &["any user"],
    verb: "has logged in after",
    noun: ["number of refused tries", "numbers of refused tries"],
    sighting: ["login", "logins"],
};

static USERS_TRIED: Facts = Facts {
    name: "users tried before login",
    alphabet: 4,
    of: 7,
    backoff: &["any user"],
    verb: "has logged in from sources that had tried",
    noun: ["number of users", "numbers of users"],
    sighting: ["login", "logins"],
};

static ABSENCE_BY_SERVICE: Facts = Facts {
    name: "absence of user by service",
    alphabet: 6,
    of: 7,
    backoff: &["any service"],
    verb: "has let in users after",
    noun: ["length of absence", "lengths of absence"],
    sighting: ["login", "logins"],
};

static COMMAND_LINE: Facts = Facts {
    name: "command line",
    alphabet: 1,
    of: 7,
    backoff: &[],
    verb: "has run",
    noun: ["program", "programs"],
    sighting: ["command line", "command lines"],
};

static HOUR_OF_USER: Facts = Facts {
    name: "hour of user",
    alphabet: 24,
    of: 8,
    backoff: &["any user"],
    verb: "has logged in during",
    noun: ["hour of the day", "hours of the day"],
    sighting: ["login", "logins"],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_factor_is_found_by_its_name_and_sits_at_its_place() {
        for (place, factor) in Factor::ALL.into_iter().enumerate() {
            assert_eq!(Factor::from_name(factor.facts().name), Some(factor));
            assert_eq!(factor.index(), place);
        }
    }
}
