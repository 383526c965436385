//! Settings of the service: a small TOML file whose every key has a default.
//!
//! What stays true: an unknown key, a wrong type or a value out of its range is refused with its
//! place, never ignored.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use picket_event::configuration::{
    Configuration, EnvironmentScope, LEAST_MEMORY, LEAST_SPOOL_QUOTA,
};
use picket_sensor::{DEFAULT_CPU_PERCENT, DEFAULT_MEMORY_BYTES, Environment};
use serde::Deserialize;

use crate::cli::SourceArg;
use crate::enrich::hash::MAX_FILE_BYTES;
use crate::enrich::written::Limits;
use crate::failure::{Code, Failure};
use crate::integrity::set::{self, Set};

/// Where the agent keeps its state unless told otherwise.
pub(crate) const DEFAULT_STATE: &str = "/var/lib/picket";
pub(crate) const DEFAULT_CONFIG: &str = "/etc/picket/agent.toml";
/// Rules that an administrator put beside the built-in ones.
pub(crate) const DEFAULT_RULES: &str = "/etc/picket/rules.d";

/// Settings of the service.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Which sensor.
    pub(crate) source: SourceArg,
    /// Where the collector is, `HOST:PORT`, in the order in which they are tried; the place of the enrolment if none.
    pub(crate) collectors: Vec<String>,
    /// An HTTP proxy on the way there, `[USER:PASSWORD@]HOST:PORT`.
    pub(crate) proxy: Option<String>,
    /// The most that the spool may take, in bytes.
    pub(crate) spool_quota_bytes: u64,
    /// How long one event key is used, in seconds.
    pub(crate) epoch_seconds: u64,
    /// Sigma rules beside the built-in ones.
    pub(crate) rules: PathBuf,
    /// Alert when a score has at most this probability, in place of the scorer's own threshold.
    pub(crate) scorer_alert_p: Option<f64>,
    /// Whether the host is compared with the others of its collector: keyed hashes of what programs it starts go there, and what at least
    /// five hosts have comes back.
    pub(crate) fleet_prior: bool,
    /// Path prefixes whose files are watched, in place of the sensor's own list.
    pub(crate) watch_paths: Option<Vec<String>>,
    /// Files whose opening is an event, in place of the sensor's own list.
    pub(crate) secret_paths: Option<Vec<String>>,
    /// Which variables of the environment an exec event has.
    pub(crate) environment: EnvironmentArg,
    /// Whether a fork is an event also where the exec that follows at once has the same process and parent.
    pub(crate) every_fork: bool,
    /// The share of one processor, in hundredths, above which details of files and network are left out; 0 for no limit.
    pub(crate) cpu_percent: u32,
    /// Whether the kernel is to refuse what others do to the running service, where it can.
    pub(crate) protect: bool,
    /// Whether the package may be removed only while operators allow it.
    pub(crate) protect_removal: bool,
    /// Private memory of the agent, in bytes, above which it forgets what it can find again and leaves out details of
    /// files and network; 0 for no limit.
    pub(crate) memory_bytes: u64,
    /// Written files larger than this are not hashed; 0: none is.
    pub(crate) hash_file_bytes: u64,
    /// How much of written files may be read for hashing in a second.
    pub(crate) hash_bytes_per_second: u64,
    /// Files and folders of which a baseline is kept, in place of the built-in list; `*` is any one name.
    pub(crate) integrity_paths: Option<Vec<String>>,
    /// Executables that no command may kill, beside the built-in protection.
    pub(crate) protected_exes: Vec<PathBuf>,
}

/// Which variables of the environment an exec event has.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EnvironmentArg {
    /// Those that change what a program loads or tell who came from where.
    Listed,
    /// All, secrets included.
    All,
}

impl From<EnvironmentArg> for Environment {
    fn from(arg: EnvironmentArg) -> Self {
        match arg {
            EnvironmentArg::Listed => Self::Listed,
            EnvironmentArg::All => Self::All,
        }
    }
}

impl From<EnvironmentScope> for EnvironmentArg {
    fn from(scope: EnvironmentScope) -> Self {
        match scope {
            EnvironmentScope::Listed => Self::Listed,
            EnvironmentScope::All => Self::All,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source: SourceArg::Auto,
            collectors: Vec::new(),
            proxy: None,
            spool_quota_bytes: 512 << 20,
            epoch_seconds: 3_600,
            rules: PathBuf::from(DEFAULT_RULES),
            scorer_alert_p: None,
            fleet_prior: true,
            watch_paths: None,
            secret_paths: None,
            environment: EnvironmentArg::Listed,
            every_fork: false,
            cpu_percent: DEFAULT_CPU_PERCENT,
            protect: false,
            protect_removal: false,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            hash_file_bytes: Limits::default().file_bytes,
            hash_bytes_per_second: Limits::default().bytes_per_second,
            integrity_paths: None,
            protected_exes: vec![PathBuf::from("/usr/bin/picket-collector")],
        }
    }
}

impl Config {
    /// From `path`, or from the default place where a missing file means the defaults.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let (path, required) = match path {
            Some(path) => (path, true),
            None => (Path::new(DEFAULT_CONFIG), false),
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|reason| {
                Failure::line(
                    Code::Failed,
                    format!("failed to read settings `{}`: {reason}", path.display()),
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {
                Ok(Self::default())
            }
            Err(source) => {
                let path = path.to_owned();
                Err(Failure::new(Code::Failed, &ReadError { path, source }))
            }
        }
    }

    /// With what operators signed in place of the host's own.
    pub(crate) fn under(mut self, signed: &Configuration) -> Self {
        fn put<T: Clone>(into: &mut T, signed: Option<&T>) {
            if let Some(signed) = signed {
                into.clone_from(signed);
            }
        }
        let paths = [
            (&mut self.watch_paths, &signed.watch_paths),
            (&mut self.secret_paths, &signed.secret_paths),
            (&mut self.integrity_paths, &signed.integrity_paths),
        ];
        for (own, signed) in paths.into_iter().filter(|(_, signed)| signed.is_some()) {
            own.clone_from(signed);
        }
        let environment = signed.environment.map(EnvironmentArg::from);
        put(&mut self.environment, environment.as_ref());
        put(&mut self.every_fork, signed.every_fork.as_ref());
        put(&mut self.cpu_percent, signed.cpu_percent.as_ref());
        put(&mut self.memory_bytes, signed.memory_bytes.as_ref());
        put(&mut self.hash_file_bytes, signed.hash_file_bytes.as_ref());
        let rate = &mut self.hash_bytes_per_second;
        put(rate, signed.hash_bytes_per_second.as_ref());
        self.scorer_alert_p = signed.scorer_alert_p.or(self.scorer_alert_p);
        put(&mut self.fleet_prior, signed.fleet_prior.as_ref());
        let quota = &mut self.spool_quota_bytes;
        put(quota, signed.spool_quota_bytes.as_ref());
        self
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| place(text, &error))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let malformed = |address: &&String| !is_address(address);
        if self.collectors.len() > MAX_COLLECTORS {
            return Err(format!("collectors may be {MAX_COLLECTORS} at most"));
        }
        if let Some(wrong) = self.collectors.iter().find(malformed) {
            return Err(format!("`{wrong}` is not of the form HOST:PORT"));
        }
        // Whatever is wrong with it, it may hold a password.
        if self.proxy.as_deref().is_some_and(|proxy| !is_proxy(proxy)) {
            return Err("proxy is not of the form [USER:PASSWORD@]HOST:PORT".to_owned());
        }
        if self.spool_quota_bytes < LEAST_SPOOL_QUOTA {
            return Err(format!(
                "spool_quota_bytes must be at least {LEAST_SPOOL_QUOTA}"
            ));
        }
        if !(MIN_EPOCH..=MAX_EPOCH).contains(&self.epoch_seconds) {
            return Err(format!(
                "epoch_seconds must be from {MIN_EPOCH} to {MAX_EPOCH}"
            ));
        }
        if (1..LEAST_MEMORY).contains(&self.memory_bytes) {
            return Err(format!("memory_bytes must be 0 or at least {LEAST_MEMORY}"));
        }
        if self.hash_file_bytes > MAX_FILE_BYTES {
            return Err(format!("hash_file_bytes must be at most {MAX_FILE_BYTES}"));
        }
        let named = self.integrity_paths.iter().flatten();
        if let Some(path) = named.into_iter().find(|path| !path.starts_with('/')) {
            return Err(format!("integrity_paths: `{path}` is not absolute"));
        }
        if self.scorer_alert_p.is_some_and(|p| !(p > 0.0 && p < 1.0)) {
            return Err("scorer_alert_p must be between 0 and 1".to_owned());
        }
        Ok(())
    }

    /// How much is read of written files.
    pub(crate) const fn hashing(&self) -> Limits {
        Limits {
            file_bytes: self.hash_file_bytes,
            bytes_per_second: self.hash_bytes_per_second,
        }
    }

    /// The files of which a baseline is kept.
    pub(crate) fn integrity(&self) -> Set {
        match &self.integrity_paths {
            Some(paths) => Set::new(paths),
            None => Set::new(set::DEFAULT),
        }
    }

    /// How long one event key is used.
    pub(crate) const fn epoch(&self) -> Duration {
        Duration::from_secs(self.epoch_seconds)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("failed to read settings `{}`", path.display())]
struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// What toml objects to, on one line, with the line of the file.
fn place(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| {
        let before = text.as_bytes().get(..span.start).unwrap_or_default();
        before.split(|byte| *byte == b'\n').count()
    });
    let message = error.message().replace('\n', " ");
    line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"))
}

/// `HOST:PORT`.
fn is_address(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// `[USER:PASSWORD@]HOST:PORT`, in characters that fit into a line of a request.
fn is_proxy(text: &str) -> bool {
    let (credentials, place) = match text.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, text),
    };
    let proven = credentials.is_none_or(|one| one.contains(':') && !one.contains(char::is_control));
    proven && is_address(place)
}

/// All of them are asked before the next wait.
const MAX_COLLECTORS: usize = 8;
const MIN_EPOCH: u64 = 10;
const MAX_EPOCH: u64 = 7 * 24 * 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(Config::parse(""), Ok(Config::default()));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let reason = Config::parse("source = \"ebpf\"\nspool_quota = 1\n").unwrap_err();
        assert!(
            reason.starts_with("line 2") && reason.contains("spool_quota"),
            "{reason}"
        );
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (text, name) in [
            ("spool_quota_bytes = 1", "spool_quota_bytes"),
            ("epoch_seconds = 1", "epoch_seconds"),
            ("memory_bytes = 1048576", "memory_bytes"),
            ("scorer_alert_p = 2.0", "scorer_alert_p"),
            ("hash_file_bytes = 1000000000000", "hash_file_bytes"),
            ("integrity_paths = [\"etc\"]", "integrity_paths"),
        ] {
            assert!(Config::parse(text).unwrap_err().contains(name));
        }
    }

    #[test]
    fn a_proxy_may_want_a_password_which_no_refusal_shows() {
        for proxy in ["proxy:3128", "alice:p@ss:word@proxy:3128"] {
            let config = Config::parse(&format!("proxy = \"{proxy}\"")).unwrap();
            assert_eq!(config.proxy.as_deref(), Some(proxy));
        }
        for proxy in [
            "alice@proxy:3128",
            "alice:secret@proxy",
            "a:secret\\r@proxy:1",
        ] {
            let reason = Config::parse(&format!("proxy = \"{proxy}\"")).unwrap_err();
            assert!(
                reason.contains("USER:PASSWORD") && !reason.contains("secret"),
                "{reason}"
            );
        }
    }

    #[test]
    fn the_environment_is_listed_or_all() {
        let all = Config::parse("environment = \"all\"").unwrap();
        assert_eq!(all.environment, EnvironmentArg::All);
        let reason = Config::parse("environment = \"some\"").unwrap_err();
        assert!(reason.contains("`listed` or `all`"), "{reason}");
    }

    #[test]
    fn what_operators_signed_takes_the_place_of_the_hosts_own_and_nothing_else_does() {
        let own =
            "cpu_percent = 10\nenvironment = \"all\"\nproxy = \"p:1\"\nscorer_alert_p = 0.5\n";
        let own = Config::parse(own).unwrap();
        assert_eq!(own.clone().under(&Configuration::default()), own);
        let signed = "cpu_percent = 20\nwatch_paths = []\nsecret_paths = [\"/s\"]\nintegrity_paths = [\"/i\"]\n\
            environment = \"listed\"\nevery_fork = true\nmemory_bytes = 0\nhash_file_bytes = 1\n\
            hash_bytes_per_second = 2\nfleet_prior = false\nspool_quota_bytes = 9000000\n";
        let both = own.clone().under(&Configuration::parse(signed).unwrap());
        // Each of them may stand in a host's own file too, and means the same there.
        let rest = "proxy = \"p:1\"\nscorer_alert_p = 0.5\n";
        assert_eq!(Config::parse(&format!("{signed}{rest}")), Ok(both));
        assert_eq!(picket_event::configuration::MOST_HASHED, MAX_FILE_BYTES);
    }

    #[test]
    fn nothing_is_protected_unless_that_is_asked_for() {
        assert!(!Config::default().protect);
        assert!(Config::parse("protect = true").unwrap().protect);
    }

    #[test]
    fn the_page_on_settings_has_every_key_with_its_default() {
        let page = include_str!("../../docs/settings.md");
        let rows: Vec<Vec<&str>> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| {
                line.split('|')
                    .map(|cell| cell.trim().trim_matches('`'))
                    .collect()
            })
            .collect();
        let keys: Vec<&str> = rows.iter().map(|row| row[1]).collect();
        let unknown = Config::parse("no_such_key = 1").unwrap_err();
        let known: Vec<&str> = unknown.split('`').skip(3).step_by(2).collect();
        assert!(known.len() > 10, "{unknown}");
        assert!(
            known.iter().all(|key| keys.contains(key)),
            "{known:?} {keys:?}"
        );
        assert_eq!(keys.len(), known.len());
        for row in rows {
            let (key, default) = (row[1], row[2]);
            if default.starts_with(|first: char| first.is_ascii_digit() || "\"[".contains(first)) {
                let config = Config::parse(&format!("{key} = {default}"));
                assert_eq!(config, Ok(Config::default()), "{key}");
            }
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let failure = Config::load(Some(Path::new("/nonexistent/agent.toml"))).unwrap_err();
        assert_eq!(failure.code, Code::Failed);
        assert!(
            failure.line.ends_with("no such file or directory"),
            "{}",
            failure.line
        );
    }
}
