//! What an administrator may set: a TOML file, overruled by the command line.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use picket_store::{Limit, Retention};
use serde::Deserialize;

use crate::export;
use crate::export::settings::Written;

/// The settings of `serve`. A file may hold any of them and nothing else.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where agents connect.
    pub agents: SocketAddr,
    /// Further addresses under which agents reach this collector, told over their sessions: for isolated hosts,
    /// which can ask no resolver.
    pub agents_at: Vec<SocketAddr>,
    /// Where operators connect.
    pub operators: SocketAddr,
    /// Where metrics and health are read.
    pub metrics: SocketAddr,
    /// How long a host's certificate is good, in hours; hosts renew at half of it.
    pub host_certificate_hours: u64,
    /// How many agents' connections are held at once.
    pub max_agent_connections: usize,
    /// How many operators' connections are held at once.
    pub max_operator_connections: usize,
    /// How long a TLS handshake may take, in seconds.
    pub handshake_timeout_seconds: u64,
    /// What one host may send, in bytes per second; beyond it the collector reads more
    /// slowly.
    pub host_bytes_per_second: u64,
    /// How often a checkpoint is signed over all that was stored, in minutes.
    pub checkpoint_minutes: u64,
    /// How often what the hosts say that they have is merged into a prior of the fleet, in hours; 0: never.
    pub prior_hours: u64,
    /// On how many hosts one person may act in an hour without anybody's approval.
    pub operator_hosts_per_hour: u64,
    /// How many bytes of files that commands collected are kept; beyond it no more are taken.
    pub collected_bytes: u64,
    /// How long what arrived may stay in the log alone before it is sealed into columns, in seconds.
    pub seal_seconds: u64,
    /// How long what is sealed stays, by class.
    pub retention: Kept,
    /// What SQL may use.
    pub query: QuerySettings,
    /// Where else events go.
    pub export: Vec<Written>,
}

/// What queries in SQL may use. Each runs in a process of its own.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct QuerySettings {
    /// So many run at once; more are refused.
    pub at_once: usize,
    /// What one may hold to sort and group, in MiB; its process may have 512 MiB more.
    pub memory_mib: u64,
    /// How long one may run, in seconds.
    pub seconds: u64,
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self {
            at_once: 2,
            memory_mib: 256,
            seconds: 60,
        }
    }
}

/// How long sealed events of each class stay.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Kept {
    /// Alerts.
    pub alert: KeptClass,
    /// Processes, logins and what else matters.
    pub security: KeptClass,
    /// Files, network and forks.
    pub bulk: KeptClass,
    /// Payloads in the log of signed batches; their headers stay.
    pub log: KeptClass,
}

/// How long sealed events of one class stay; 0: without limit.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct KeptClass {
    /// So many days.
    pub days: u64,
    /// So many bytes of sealed files, the newest.
    pub bytes: u64,
}

impl Kept {
    /// As the store has them.
    pub fn limits(&self) -> Retention {
        Retention {
            alert: self.alert.limit(),
            security: self.security.limit(),
            bulk: self.bulk.limit(),
        }
    }

    /// Of the log of signed batches.
    pub fn log_limit(&self) -> Limit {
        self.log.limit()
    }
}

impl KeptClass {
    fn limit(self) -> Limit {
        let age = Duration::from_secs(self.days.saturating_mul(24 * 3_600));
        Limit {
            age: (self.days > 0).then_some(age),
            bytes: (self.bytes > 0).then_some(self.bytes),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agents: SocketAddr::from(([0, 0, 0, 0], 7443)),
            agents_at: Vec::new(),
            operators: SocketAddr::from(([0, 0, 0, 0], 7444)),
            metrics: SocketAddr::from(([127, 0, 0, 1], 7445)),
            host_certificate_hours: 24,
            max_agent_connections: 25_000,
            max_operator_connections: 256,
            handshake_timeout_seconds: 10,
            host_bytes_per_second: 16 << 20,
            checkpoint_minutes: 60,
            prior_hours: 24,
            operator_hosts_per_hour: 30,
            collected_bytes: 10 << 30,
            seal_seconds: 300,
            retention: Kept::default(),
            query: QuerySettings::default(),
            export: Vec::new(),
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML of our settings.
    #[error("`{}` is not valid: {reason}", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with its line.
        reason: String,
    },
    /// A setting is beyond its bounds.
    #[error("`{}`: {setting} must be between {least} and {most}", path.display())]
    Bounds {
        /// Which file.
        path: PathBuf,
        /// Which setting.
        setting: &'static str,
        /// Its lowest value.
        least: u64,
        /// Its highest value.
        most: u64,
    },
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path);
        let text = text.map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let form = |error: toml::de::Error| form_error(path, &text, &error);
        let config: Self = toml::from_str(&text).map_err(form)?;
        config.check(path)?;
        Ok(config)
    }

    /// How long a host's certificate is good.
    pub fn host_certificate(&self) -> Duration {
        Duration::from_secs(self.host_certificate_hours.saturating_mul(3600))
    }

    /// How often a checkpoint is signed.
    pub fn checkpoint_period(&self) -> Duration {
        Duration::from_secs(self.checkpoint_minutes.saturating_mul(60))
    }

    /// How often a prior of the fleet is made; `None`: never.
    pub fn prior_period(&self) -> Option<Duration> {
        let seconds = self.prior_hours.saturating_mul(3600);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// How long what arrived may stay unsealed.
    pub fn seal_period(&self) -> Duration {
        Duration::from_secs(self.seal_seconds)
    }

    /// How long a TLS handshake may take.
    pub fn handshake_timeout(&self) -> Duration {
        Duration::from_secs(self.handshake_timeout_seconds)
    }

    /// The exports, checked; no two have one name.
    pub fn exports(&self) -> Result<Vec<export::settings::Settings>, String> {
        let mut exports: Vec<export::settings::Settings> = Vec::new();
        for written in &self.export {
            let checked = written.check()?;
            if exports.iter().any(|known| known.name == checked.name) {
                return Err(format!("two exports are called `{}`", checked.name));
            }
            exports.push(checked);
        }
        Ok(exports)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let bounds = [
            ("agents_at", self.agents_at.len() as u64, 0, 8),
            (
                "host_certificate_hours",
                self.host_certificate_hours,
                1,
                24 * 90,
            ),
            (
                "max_agent_connections",
                self.max_agent_connections as u64,
                1,
                1_000_000,
            ),
            (
                "max_operator_connections",
                self.max_operator_connections as u64,
                1,
                10_000,
            ),
            (
                "handshake_timeout_seconds",
                self.handshake_timeout_seconds,
                1,
                60,
            ),
            (
                "host_bytes_per_second",
                self.host_bytes_per_second,
                64 << 10,
                1 << 40,
            ),
            ("checkpoint_minutes", self.checkpoint_minutes, 1, 24 * 60),
            ("prior_hours", self.prior_hours, 0, 24 * 31),
            ("seal_seconds", self.seal_seconds, 1, 24 * 3600),
            (
                "retention.alert.days",
                self.retention.alert.days,
                0,
                CENTURY,
            ),
            (
                "retention.security.days",
                self.retention.security.days,
                0,
                CENTURY,
            ),
            ("query.at_once", self.query.at_once as u64, 1, 64),
            ("query.memory_mib", self.query.memory_mib, 16, 16_384),
            ("query.seconds", self.query.seconds, 1, 3_600),
            ("retention.bulk.days", self.retention.bulk.days, 0, CENTURY),
            ("retention.log.days", self.retention.log.days, 0, CENTURY),
            (
                "operator_hosts_per_hour",
                self.operator_hosts_per_hour,
                1,
                1_000_000,
            ),
        ];
        self.exports().map_err(|reason| ConfigError::Form {
            path: path.to_owned(),
            reason,
        })?;
        for (setting, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                let path = path.to_owned();
                return Err(ConfigError::Bounds {
                    path,
                    setting,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }
}

/// In days.
const CENTURY: u64 = 36_525;

fn form_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let message = error.message().lines().next().unwrap_or_default();
    ConfigError::Form {
        path: path.to_owned(),
        reason: format!("line {line}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        fs::write(&path, text).unwrap();
        Config::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_file_does_not_say_stays_as_it_is() {
        let config = read("agents = '127.0.0.1:0'\n").unwrap();
        assert_eq!(config.agents.port(), 0);
        assert_eq!(config.operators, Config::default().operators);
        assert_eq!(read("").unwrap(), Config::default());
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_line() {
        let unknown = read("agents = '127.0.0.1:0'\nagent = 1\n").unwrap_err();
        assert!(
            unknown.contains("line 2") && unknown.contains("`agent`"),
            "{unknown}"
        );
        let kind = read("host_certificate_hours = 'x'").unwrap_err();
        assert!(kind.contains("line 1"), "{kind}");
        let bounds = read("host_certificate_hours = 0").unwrap_err();
        assert!(bounds.contains("between 1 and 2160"), "{bounds}");
    }
}
