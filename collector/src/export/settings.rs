//! `[[export]]` of the settings, checked.

use std::path::PathBuf;

use picket_event::{Kind, Severity};
use serde::Deserialize;

/// One export, as it is written.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Written {
    name: String,
    to: String,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    from: From,
    #[serde(default)]
    kinds: Vec<String>,
    min_severity: Option<String>,
    ca: Option<PathBuf>,
    authorization_file: Option<PathBuf>,
    #[serde(default = "rotate_bytes")]
    rotate_bytes: u64,
    #[serde(default = "keep")]
    keep: u32,
}

/// One export, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name; the cursor is kept under it.
    pub name: String,
    /// Where it goes.
    pub to: Destination,
    /// In which form.
    pub format: Format,
    /// Where a new one begins.
    pub from: From,
    /// Of which kinds; none: all.
    pub kinds: Vec<Kind>,
    /// With a verdict at least this bad.
    pub min_severity: Option<Severity>,
}

/// Where an export goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Destination {
    /// Lines in a file, which is renamed when it is full.
    File {
        /// The file.
        path: PathBuf,
        /// When it is full, in bytes.
        rotate_bytes: u64,
        /// How many full ones stay.
        keep: u32,
    },
    /// A syslog server, RFC 5424 in frames that say their length (RFC 5425, RFC 6587).
    Syslog {
        /// `HOST:PORT`.
        at: String,
        /// Who must have signed its certificate; `None`: no TLS.
        ca: Option<PathBuf>,
    },
    /// A server that takes groups of events by HTTP.
    Http(Endpoint),
}

/// Where events are posted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// `HOST:PORT`.
    pub at: String,
    /// Path and query.
    pub path: String,
    /// Who must have signed its certificate; `None`: no TLS.
    pub ca: Option<PathBuf>,
    /// The file that holds the value of `Authorization`.
    pub authorization: Option<PathBuf>,
}

/// The form of an event.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// As `picketctl events --json`.
    #[default]
    Json,
    /// OCSF.
    Ocsf,
    /// Elastic Common Schema.
    Ecs,
    /// Common Event Format.
    Cef,
    /// Log records of OpenTelemetry, in its JSON; by HTTP only.
    Otlp,
}

/// Where a new export begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// With what comes from now on.
    #[default]
    Now,
    /// With the first event that is stored.
    Start,
}

impl Written {
    /// Checked, or what is wrong.
    pub fn check(&self) -> Result<Settings, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            return Err(format!(
                "export `{}`: its name must be 1 to 64 of a-z A-Z 0-9 - _",
                self.name
            ));
        }
        let wrong = |problem: String| format!("export `{}`: {problem}", self.name);
        let kinds = self.kinds.iter().map(|name| {
            Kind::from_name(name).ok_or_else(|| wrong(format!("there is no kind `{name}`")))
        });
        let severity = self.min_severity.as_deref().map(|name| {
            Severity::from_name(name).ok_or_else(|| wrong(format!("`{name}` is no severity")))
        });
        let to = self.destination().map_err(wrong)?;
        let by_http = matches!(to, Destination::Http(_));
        if self.format == Format::Otlp && !by_http {
            return Err(wrong("`otlp` goes to http:// and https:// only".to_owned()));
        }
        if self.authorization_file.is_some() && !by_http {
            let problem = "`authorization_file` is for http:// and https:// only";
            return Err(wrong(problem.to_owned()));
        }
        Ok(Settings {
            name: self.name.clone(),
            to,
            format: self.format,
            from: self.from,
            kinds: kinds.collect::<Result<_, _>>()?,
            min_severity: severity.transpose()?,
        })
    }

    fn destination(&self) -> Result<Destination, String> {
        if let Some(path) = self.to.strip_prefix("file://") {
            if !path.starts_with('/') {
                return Err(
                    "a file is named by its whole path, as file:///var/log/picket.json".to_owned(),
                );
            }
            if self.rotate_bytes < SMALLEST || self.keep > MOST_KEPT {
                return Err(format!(
                    "rotate_bytes is at least {SMALLEST}, keep at most {MOST_KEPT}"
                ));
            }
            return Ok(Destination::File {
                path: PathBuf::from(path),
                rotate_bytes: self.rotate_bytes,
                keep: self.keep,
            });
        }
        if let Some(at) = self.to.strip_prefix("syslog+tls://") {
            let ca = self
                .ca
                .clone()
                .ok_or("it needs `ca`, the certificate that signed the server's")?;
            return Ok(Destination::Syslog {
                at: address(at)?,
                ca: Some(ca),
            });
        }
        if let Some(at) = self.to.strip_prefix("syslog://") {
            return Ok(Destination::Syslog {
                at: address(at)?,
                ca: None,
            });
        }
        if let Some(rest) = self.to.strip_prefix("https://") {
            let ca = self.ca.clone();
            let ca =
                ca.ok_or("it needs `ca`, the certificates that may have signed the server's")?;
            return self.endpoint(rest, "443", Some(ca));
        }
        if let Some(rest) = self.to.strip_prefix("http://") {
            return self.endpoint(rest, "80", None);
        }
        Err(format!(
            "`{}` is none of file:///PATH, syslog://HOST:PORT, syslog+tls://HOST:PORT, http://HOST/PATH, \
             https://HOST/PATH",
            self.to
        ))
    }

    fn endpoint(&self, rest: &str, port: &str, ca: Option<PathBuf>) -> Result<Destination, String> {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = format!("/{path}");
        let fits = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits(&path) || !fits(host) || host.contains('@') {
            let problem = "cannot be posted to; a password belongs into `authorization_file`";
            return Err(format!("`{}` {problem}", self.to));
        }
        let at = if host.contains(':') && !host.ends_with(']') {
            address(host)?
        } else {
            address(&format!("{host}:{port}"))?
        };
        Ok(Destination::Http(Endpoint {
            at,
            path,
            ca,
            authorization: self.authorization_file.clone(),
        }))
    }
}

fn address(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':');
    let fits = parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("`{text}` is not of the form HOST:PORT"))
}

const fn rotate_bytes() -> u64 {
    100 << 20
}

const fn keep() -> u32 {
    10
}

const SMALLEST: u64 = 1 << 10;
const MOST_KEPT: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rest: &str) -> Result<Settings, String> {
        let text = format!("name = \"siem\"\n{rest}");
        let written: Written = toml::from_str(&text).map_err(|error| error.to_string())?;
        written.check()
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_the_exports_name() {
        for (rest, expected) in [
            ("to = \"ftp://x:1\"", "none of"),
            ("to = \"https://x/y\"", "`ca`"),
            ("to = \"http://u:p@x/y\"", "authorization_file"),
            ("to = \"http://x/a b\"", "cannot be posted"),
            ("to = \"http://x:port/\"", "HOST:PORT"),
            ("to = \"syslog://x:1\"\nformat = \"otlp\"", "http://"),
            ("to = \"file:///x\"\nauthorization_file = \"/x\"", "http://"),
            ("to = \"file://x\"", "whole path"),
            ("to = \"file:///x\"\nrotate_bytes = 1", "at least"),
            ("to = \"syslog://x\"", "HOST:PORT"),
            ("to = \"syslog+tls://x:6514\"", "`ca`"),
            ("to = \"syslog://x:514\"\nkinds = [\"no\"]", "no kind `no`"),
            (
                "to = \"syslog://x:514\"\nmin_severity = \"bad\"",
                "no severity",
            ),
            (
                "to = \"syslog://x:514\"\nformat = \"xml\"",
                "unknown variant",
            ),
            ("to = \"syslog://x:514\"\nnames = 1", "unknown field"),
        ] {
            let refused = check(rest).unwrap_err();
            assert!(refused.contains(expected), "{rest}: {refused}");
        }
    }

    #[test]
    fn an_endpoint_has_the_port_of_its_scheme_unless_it_names_one() {
        for (to, at, path) in [
            ("http://a.example", "a.example:80", "/"),
            (
                "https://a.example/v1/logs?x=1",
                "a.example:443",
                "/v1/logs?x=1",
            ),
            ("https://[::1]:8443/x", "[::1]:8443", "/x"),
            ("http://[::1]/x", "[::1]:80", "/x"),
        ] {
            let settings = check(&format!("to = \"{to}\"\nca = \"/ca.pem\"")).unwrap();
            let Destination::Http(endpoint) = settings.to else {
                panic!("{to}");
            };
            assert_eq!((endpoint.at.as_str(), endpoint.path.as_str()), (at, path));
            assert_eq!(endpoint.ca.is_some(), to.starts_with("https"));
        }
    }

    #[test]
    fn the_page_on_exports_shows_exports_that_are_taken() {
        #[derive(Deserialize)]
        struct Page {
            export: Vec<Written>,
        }
        let page = include_str!("../../../docs/export.md");
        let mut shown = 0;
        for rest in page.split("```toml").skip(1) {
            let text = rest.split("```").next().unwrap();
            for written in toml::from_str::<Page>(text).unwrap().export {
                written.check().unwrap();
                shown += 1;
            }
        }
        assert_eq!(shown, 5);
    }
}
