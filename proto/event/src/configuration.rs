//! Settings of agents that operators sign, in place of those of a host's own file.
//!
//! # Invariants
//!
//! - What decides whom a host speaks to and what protects it from its operators is never among them: these keys are the host's own.
//! - An unknown key, a key of the host's own, a wrong type or a value out of its range is refused, never ignored.
//! - What is not set is as the host's own file has it.

use serde::Deserialize;

use crate::content::{Content, ContentKind};

/// The least quota of a spool, in bytes.
pub const LEAST_SPOOL_QUOTA: u64 = 8 << 20;
/// The least limit of an agent's memory, in bytes.
pub const LEAST_MEMORY: u64 = 32 << 20;
/// The largest file that is hashed, in bytes.
pub const MOST_HASHED: u64 = 256 << 20;

/// What operators set. Each key means what it means in the settings of the agent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Configuration {
    /// Path prefixes whose files are watched.
    pub watch_paths: Option<Vec<String>>,
    /// Files whose opening is an event.
    pub secret_paths: Option<Vec<String>>,
    /// Files of which a baseline is kept.
    pub integrity_paths: Option<Vec<String>>,
    /// Which variables of the environment an exec event has.
    pub environment: Option<EnvironmentScope>,
    /// Whether each fork is an event.
    pub every_fork: Option<bool>,
    /// Share of one processor in hundredths; 0: no limit.
    pub cpu_percent: Option<u32>,
    /// Private memory in bytes; 0: no limit.
    pub memory_bytes: Option<u64>,
    /// Written files larger than this are not hashed.
    pub hash_file_bytes: Option<u64>,
    /// Bytes of written files read for hashing in a second.
    pub hash_bytes_per_second: Option<u64>,
    /// Alert when a score has at most this probability.
    pub scorer_alert_p: Option<f64>,
    /// Whether the host is compared with the others of its collector.
    pub fleet_prior: Option<bool>,
    /// The most that the spool takes on disk, in bytes.
    pub spool_quota_bytes: Option<u64>,
}

/// Which variables an exec event has.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentScope {
    /// Those that change what a program loads or tell who came from where.
    Listed,
    /// All, secrets included.
    All,
}

/// Why a text is no configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigurationError {
    /// Not of the form.
    #[error("line {line}: {problem}")]
    Form {
        /// Which line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A key that only the host's own file may have.
    #[error("`{0}` is the host's own: only its settings file may have it")]
    HostsOwn(&'static str),
    /// A value that cannot be.
    #[error("{0}")]
    Range(String),
    /// Not exactly one file.
    #[error("a configuration is one file")]
    Files,
}

impl Configuration {
    /// Reads a configuration.
    pub fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let read: Self = toml::from_str(text).map_err(|error| refusal(text, &error))?;
        read.check()?;
        Ok(read)
    }

    /// From signed content of the kind [`ContentKind::Configuration`].
    pub fn of(content: &Content) -> Result<Self, ConfigurationError> {
        match (content.kind, content.files.as_slice()) {
            (ContentKind::Configuration, [file]) => Self::parse(&file.text),
            _ => Err(ConfigurationError::Files),
        }
    }

    fn check(&self) -> Result<(), ConfigurationError> {
        let paths = [
            ("watch_paths", &self.watch_paths),
            ("secret_paths", &self.secret_paths),
            ("integrity_paths", &self.integrity_paths),
        ];
        for (key, paths) in paths {
            let mut paths = paths.iter().flatten();
            if let Some(path) = paths.find(|path| !path.starts_with('/')) {
                return wrong(format!("{key}: `{path}` is not absolute"));
            }
        }
        if self
            .spool_quota_bytes
            .is_some_and(|bytes| bytes < LEAST_SPOOL_QUOTA)
        {
            return wrong(format!(
                "spool_quota_bytes must be at least {LEAST_SPOOL_QUOTA}"
            ));
        }
        if self
            .memory_bytes
            .is_some_and(|bytes| (1..LEAST_MEMORY).contains(&bytes))
        {
            return wrong(format!("memory_bytes must be 0 or at least {LEAST_MEMORY}"));
        }
        if self
            .hash_file_bytes
            .is_some_and(|bytes| bytes > MOST_HASHED)
        {
            return wrong(format!("hash_file_bytes must be at most {MOST_HASHED}"));
        }
        if self.scorer_alert_p.is_some_and(|p| !(p > 0.0 && p < 1.0)) {
            return wrong("scorer_alert_p must be between 0 and 1".to_owned());
        }
        Ok(())
    }
}

fn wrong(words: String) -> Result<(), ConfigurationError> {
    Err(ConfigurationError::Range(words))
}

/// What toml objects to, with the line of the file; of a key of the host's own, that it is one.
fn refusal(text: &str, error: &toml::de::Error) -> ConfigurationError {
    let span = error.span().unwrap_or_default();
    let key = text.get(span.clone()).map(str::trim);
    if let Some(own) = HOSTS_OWN.iter().find(|own| key == Some(**own)) {
        return ConfigurationError::HostsOwn(own);
    }
    let before = text.as_bytes().get(..span.start).unwrap_or_default();
    ConfigurationError::Form {
        line: before.split(|byte| *byte == b'\n').count(),
        problem: error.message().replace('\n', " "),
    }
}

/// Keys of the agent's settings that operators cannot set.
const HOSTS_OWN: [&str; 8] = [
    "source",
    "collectors",
    "proxy",
    "protect",
    "protect_removal",
    "rules",
    "epoch_seconds",
    "protected_exes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_stays_unset() {
        assert_eq!(Configuration::parse(""), Ok(Configuration::default()));
        let read = Configuration::parse("cpu_percent = 20\nwatch_paths = [\"/srv\"]\n").unwrap();
        assert_eq!(read.cpu_percent, Some(20));
        assert_eq!(read.watch_paths, Some(vec!["/srv".to_owned()]));
        assert_eq!(read.environment, None);
    }

    #[test]
    fn keys_of_the_hosts_own_are_refused_by_name() {
        for own in HOSTS_OWN {
            let refused = Configuration::parse(&format!("cpu_percent = 1\n{own} = 1\n"));
            assert_eq!(refused, Err(ConfigurationError::HostsOwn(own)));
        }
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_with_their_line() {
        for text in ["cpu_percent = 1\nno_such = 1", "\ncpu_percent = \"much\""] {
            let refused = Configuration::parse(text).unwrap_err();
            assert!(
                matches!(refused, ConfigurationError::Form { line: 2, .. }),
                "{refused}"
            );
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for text in [
            "watch_paths = [\"etc\"]",
            "secret_paths = [\"/etc/shadow\", \"shadow\"]",
            "integrity_paths = [\"\"]",
            "spool_quota_bytes = 1",
            "memory_bytes = 1",
            "hash_file_bytes = 1000000000",
            "scorer_alert_p = 1.0",
            "scorer_alert_p = nan",
        ] {
            let refused = Configuration::parse(text).unwrap_err();
            assert!(matches!(refused, ConfigurationError::Range(_)), "{refused}");
        }
    }

    #[test]
    fn a_configuration_is_one_file_of_its_kind() {
        let mut content = Content {
            kind: ContentKind::Configuration,
            version: 1,
            created: crate::UnixNanos(1),
            files: Vec::new(),
            reason: String::new(),
        };
        assert_eq!(Configuration::of(&content), Err(ConfigurationError::Files));
        content.files.push(crate::content::ContentFile {
            name: "a.toml".to_owned(),
            text: "every_fork = true".to_owned(),
        });
        let read = Configuration::of(&content).unwrap();
        assert_eq!(read.every_fork, Some(true));
        content.kind = ContentKind::Policy;
        assert_eq!(Configuration::of(&content), Err(ConfigurationError::Files));
    }
}
