//! Who a certificate speaks for: the one subject-alternative-name URI that the collector wrote into it.

use crate::HostId;

/// Whom a client certificate names.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Identity {
    /// An enrolled host.
    Host(HostId),
    /// An operator, by a name that [`is_operator_name`] accepts.
    Operator(String),
}

const HOST: &str = "picket://host/";
const OPERATOR: &str = "picket://operator/";

impl Identity {
    /// Its URI.
    pub fn uri(&self) -> String {
        match self {
            Self::Host(id) => format!("{HOST}{id}"),
            Self::Operator(name) => format!("{OPERATOR}{name}"),
        }
    }

    /// From its URI; `None` for every other URI.
    pub fn parse_uri(uri: &str) -> Option<Self> {
        if let Some(id) = uri.strip_prefix(HOST) {
            return HostId::parse(id)
                .ok()
                .map(Self::Host)
                .filter(|host| host.uri() == uri);
        }
        let name = uri.strip_prefix(OPERATOR)?;
        is_operator_name(name).then(|| Self::Operator(name.to_owned()))
    }
}

/// 1 to 64 of `a-z 0-9 . _ -`, beginning with a letter or digit.
pub fn is_operator_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    (1..=64).contains(&name.len())
        && name.chars().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identity_has_one_uri() {
        let host = Identity::Host(HostId::new([0xab; 32]));
        assert_eq!(Identity::parse_uri(&host.uri()), Some(host.clone()));
        assert_eq!(Identity::parse_uri(&host.uri().to_uppercase()), None);
        assert_eq!(
            Identity::parse_uri(&host.uri().replace("abab", "ab-ab")),
            None
        );
        let operator = Identity::Operator("alice".to_owned());
        assert_eq!(Identity::parse_uri(&operator.uri()), Some(operator));
    }

    #[test]
    fn an_odd_name_is_no_operator() {
        for name in ["", "../x", "Alice", "a b", "-a", &"a".repeat(65)] {
            assert!(!is_operator_name(name), "{name:?}");
        }
    }
}
