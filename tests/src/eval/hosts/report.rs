//! Figures of recorded hosts and of attacks on them, as tables and as JSON.

use serde_json::{Value, json};

use super::{Attack, Found, Host, Strength};
use crate::eval::metrics::Share;

/// The outcome.
#[derive(Debug)]
pub struct Report {
    /// The hosts by name.
    pub hosts: Vec<Host>,
    /// The attacks that were executed.
    pub attacks: Vec<Attack>,
}

/// By what incidents are ranked.
type Rank = (&'static str, fn(&Strength) -> f64);

const RANKS: [Rank; 3] = [
    ("p", |one| one.rarity),
    ("bits", |one| one.bits),
    ("density", |one| one.density),
];

impl Report {
    /// Lines for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for host in &self.hosts {
            lines.extend(host_lines(host));
        }
        if self.attacks.is_empty() {
            return lines;
        }
        lines.push(format!(
            "{} attacks, each on {} hosts",
            self.attacks.len(),
            self.hosts.len()
        ));
        for (name, share) in self.shares() {
            let [low, high] = share.interval();
            lines.push(format!(
                "  {name:<64}{:>5.1} %  ({} of {}, {:.1} to {:.1} %)",
                100.0 * share.value(),
                share.found,
                share.of,
                100.0 * low,
                100.0 * high
            ));
        }
        lines
    }

    /// One object.
    pub fn to_json(&self) -> Value {
        let shares = self.shares().into_iter().map(|(name, share)| {
            let told = json!({ "found": share.found, "of": share.of, "value": share.value(), "wilson_95%": share.interval() });
            (name, told)
        });
        json!({
            "hosts": self.hosts.iter().map(host_json).collect::<Vec<_>>(),
            "shares": Value::Object(shares.collect()),
            "attacks": self.attack_rows(),
        })
    }

    fn attack_rows(&self) -> Vec<Value> {
        let row = |(place, attack): (usize, &Attack)| {
            let on = self.hosts.iter().map(|host| {
                let found = &host.attacks[place];
                (host.name.clone(), found_json(found))
            });
            json!({
                "name": attack.name,
                "technique": attack.technique,
                "by_rules": attack.by_rules,
                "on": Value::Object(on.collect()),
            })
        };
        self.attacks.iter().enumerate().map(row).collect()
    }

    /// Pairs of an attack and a host in which it was found, by what and within which budget.
    fn shares(&self) -> Vec<(String, Share)> {
        let mut shares = Vec::new();
        for (rank, of) in RANKS {
            for (budget, days) in [("day", 1), ("week", 7)] {
                let above = |host: &Host, found: &Found| {
                    of(&found.strength) > host.bar(host.counted / days, of)
                };
                let name = |what: &str| {
                    format!("{what}, incidents ranked by {rank}, one benign a host and {budget}")
                };
                shares.push((
                    name("scorer"),
                    self.share(|host, found, _| above(host, found)),
                ));
                shares.push((
                    name("scorer or rules"),
                    self.share(|host, found, attack| attack.by_rules || above(host, found)),
                ));
            }
        }
        shares.push((
            "told by the scorer's own rule".to_owned(),
            self.share(|_, found, _| found.notified),
        ));
        shares.push((
            "rules, medium or worse".to_owned(),
            self.share(|_, _, attack| attack.by_rules),
        ));
        shares
    }

    fn share(&self, is_found: impl Fn(&Host, &Found, &Attack) -> bool) -> Share {
        let pairs = self.hosts.iter().flat_map(|host| {
            let met = host.attacks.iter().zip(&self.attacks);
            met.map(move |(found, attack)| (host, found, attack))
        });
        let mut share = Share { found: 0, of: 0 };
        for (host, found, attack) in pairs {
            share.of += 1;
            share.found += usize::from(is_found(host, found, attack));
        }
        share
    }
}

fn host_lines(host: &Host) -> Vec<String> {
    let (all, bad) = sums(host);
    let mut lines = vec![format!(
        "{}: {} events on {} days; {} notifications of the scorer; rules, medium or worse: {all} alerts, {bad} of them high or critical",
        host.name, host.events, host.days, host.notifications
    )];
    for (title, (count, _)) in &host.alerts {
        lines.push(format!("  {count:>4}  {title}"));
    }
    lines.push(format!(
        "  the strongest of {} incidents of the last {} days:",
        host.incidents.len(),
        host.counted
    ));
    for one in host.incidents.iter().take(SHOWN) {
        lines.push(format!(
            "  {:>5.1} -log2 p {:>6.1} bits {:>4.1} dense  {}",
            one.rarity, one.bits, one.density, one.why
        ));
    }
    lines
}

fn host_json(host: &Host) -> Value {
    let (all, bad) = sums(host);
    json!({
        "name": host.name,
        "events": host.events,
        "days": host.days,
        "days_counted": host.counted,
        "notifications": host.notifications,
        "rule_alerts": all,
        "rule_alerts_high": bad,
        "rules": host.alerts.iter().map(|(title, (count, _))| json!({ "rule": title, "alerts": count })).collect::<Vec<_>>(),
        "incidents": host.incidents.iter().take(SHOWN).map(strength_json).collect::<Vec<_>>(),
    })
}

fn found_json(found: &Found) -> Value {
    let mut told = strength_json(&found.strength);
    told["notified"] = found.notified.into();
    told
}

fn strength_json(one: &Strength) -> Value {
    json!({ "rarity": one.rarity, "bits": one.bits, "density": one.density, "why": one.why })
}

fn sums(host: &Host) -> (usize, usize) {
    let add = |sum: (usize, usize), one: &(usize, usize)| (sum.0 + one.0, sum.1 + one.1);
    host.alerts.values().fold((0, 0), add)
}

/// Incidents that are shown.
const SHOWN: usize = 12;
