//! Where the collectors are by address, for a host that can ask no resolver.
//!
//! # Invariants
//!
//! - While the host is isolated no resolver is asked for what is known: an answer could only be a lie.
//! - A new address comes over a session that mutual TLS has proven, or from a resolver before.
//! - Whoever answers at an address must still show the certificate of the name that was configured.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::lookup_host;

/// Shared by the uplink, which learns, and the responder, which lets them through.
pub(crate) type SharedPlaces = Arc<Places>;

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct Places {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: Known,
    live: Option<SocketAddr>,
    isolated: bool,
}

/// What outlives a restart of an isolated host.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Known {
    /// The addresses of each configured place, a collector or the proxy before it.
    pub(crate) places: BTreeMap<String, Vec<SocketAddr>>,
    /// What a collector told of itself.
    pub(crate) told: Vec<SocketAddr>,
}

impl Places {
    /// Where `place` (`HOST:PORT`) is. `is_collector`: what collectors told of themselves is tried too.
    pub(crate) async fn find(
        &self,
        place: &str,
        is_collector: bool,
    ) -> io::Result<Vec<SocketAddr>> {
        let known = {
            let inner = self.inner();
            let known = inner.known.places.get(place).cloned();
            known.filter(|_| inner.isolated)
        };
        let found = match known {
            Some(known) => Ok(known),
            None => resolve(place).await,
        };
        let mut inner = self.inner();
        let mut addresses = match found {
            Ok(found) => {
                inner.known.places.insert(place.to_owned(), found.clone());
                found
            }
            Err(error) => match inner.known.places.get(place) {
                Some(known) => known.clone(),
                None => return Err(error),
            },
        };
        if is_collector {
            addresses.extend(&inner.known.told);
        }
        Ok(addresses)
    }

    /// A session at this address has proven itself.
    pub(crate) fn connected(&self, at: SocketAddr) {
        self.inner().live = Some(at);
    }

    /// The session has ended.
    pub(crate) fn disconnected(&self) {
        self.inner().live = None;
    }

    /// What the collector says of itself over a proven session.
    pub(crate) fn told(&self, addresses: &[String]) {
        let told = addresses.iter().filter_map(|text| text.parse().ok());
        let told: Vec<SocketAddr> = told.take(MAX_ADDRESSES).collect();
        if !told.is_empty() {
            self.inner().known.told = told;
        }
    }

    /// The address of the session that is up.
    pub(crate) fn live(&self) -> Option<SocketAddr> {
        self.inner().live
    }

    /// What is known, for keeping.
    pub(crate) fn known(&self) -> Known {
        self.inner().known.clone()
    }

    /// The host is isolated, or not any more.
    pub(crate) fn isolated(&self, isolated: bool) {
        self.inner().isolated = isolated;
    }

    /// After a restart of an isolated host: what was known before.
    pub(crate) fn restore(&self, known: &Known) {
        let mut inner = self.inner();
        for (place, addresses) in &known.places {
            let places = inner.known.places.entry(place.clone());
            places.or_insert_with(|| addresses.clone());
        }
        if inner.known.told.is_empty() {
            inner.known.told.clone_from(&known.told);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Every address, each once.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let mut all: Vec<SocketAddr> = self.places.values().flatten().copied().collect();
        all.extend(&self.told);
        all.sort_unstable();
        all.dedup();
        all
    }
}

async fn resolve(place: &str) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::time::timeout(PATIENCE, lookup_host(place)).await;
    let found = found.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    let found: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    if found.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(found)
}

/// Of one name, and told by a collector.
const MAX_ADDRESSES: usize = 8;
/// How long a resolver may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 7443))
    }

    #[tokio::test]
    async fn an_isolated_host_asks_no_resolver_for_what_it_knows() {
        let places = Places::default();
        let known = Known {
            places: BTreeMap::from([("localhost:7443".to_owned(), vec![at(1)])]),
            told: vec![at(2)],
        };
        places.restore(&known);
        places.isolated(true);
        let found = places.find("localhost:7443", true).await.unwrap();
        assert_eq!(found, [at(1), at(2)]);
        places.isolated(false);
        let found = places.find("localhost:7443", false).await.unwrap();
        assert!(
            found.iter().all(|found| found.ip().is_loopback()),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_resolved_is_where_it_was() {
        let places = Places::default();
        assert!(places.find("no.such.host.invalid:1", true).await.is_err());
        let known = Known {
            places: BTreeMap::from([("no.such.host.invalid:1".to_owned(), vec![at(1)])]),
            told: Vec::new(),
        };
        places.restore(&known);
        let found = places.find("no.such.host.invalid:1", true).await.unwrap();
        assert_eq!(found, [at(1)]);
    }

    #[test]
    fn only_literal_addresses_are_told_and_not_without_end() {
        let places = Places::default();
        let many: Vec<String> = (0..20).map(|port| format!("10.0.0.1:{port}")).collect();
        places.told(&[vec!["collector.example:7443".to_owned()], many].concat());
        assert_eq!(places.known().told.len(), MAX_ADDRESSES);
        places.told(&[]);
        assert_eq!(
            places.known().told.len(),
            MAX_ADDRESSES,
            "a collector that says nothing moves nobody"
        );
    }
}
