//! How large the store is and how fast it answers: `make bench-store`. `docs/benchmarks.md` tells how each figure is taken.
//!
//! The program fails when an answer over the sealed files is not that of the log alone, because that is never a matter of speed.

use std::path::Path;
use std::time::{Duration, Instant};

use picket_event::field::Field;
use picket_event::filter::Filter;
use picket_event::{Detail, Kind, UnixNanos};
use picket_store::{
    KindSet, Options as StoreOptions, Query, Reader, SealOptions, Sealer, Stack, Stacking, Store,
    StoredEvent,
};

use super::figure::{self, Figure};
use crate::failure::Failure;
use crate::programs::Programs;
use crate::rig::Rig;
use crate::sim::{self, Filled, Filling};
use crate::wait;

/// A question, and the one word for it.
struct Asked {
    name: &'static str,
    /// CPU milliseconds of the same question in the design's prototype, over two million events.
    anchor: &'static str,
    query: Query,
    /// Instead of a search: count the values of this field.
    stacked: Option<&'static str>,
}

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Measuring {
    /// A tenth of it.
    pub short: bool,
    /// One JSON object per figure.
    pub json: bool,
    /// What each column takes, too.
    pub columns: bool,
}

/// Measures everything.
pub fn run(how: Measuring) -> Result<(), Failure> {
    let Measuring {
        short,
        json,
        columns,
    } = how;
    wait::for_interrupts();
    let programs = Programs::find_these(&["picket-collector", "picketctl"])?;
    let mut rig = Rig::start_with(programs)?;
    rig.stop_collector()?;
    let filling = Filling {
        hosts: 40,
        days: 1.0,
        events: if short { 200_000 } else { 2_000_000 },
        seed: 1,
    };
    let filled = sim::fill(&rig.data(), &filling)?;
    let mut figures = sizes(&filled);
    if columns {
        figures.extend(column_sizes(&filled));
    }
    let (log, (sealed, sealer)) = (open_log(&rig.data())?, open_sealed(&rig.data())?);
    for asked in questions(&sealed.reader())? {
        figures.push(answer(&asked, &log.reader(), &sealed.reader(), short)?);
    }
    drop((log, sealed, sealer));
    rig.restart_collector()?;
    let began = Instant::now();
    let rows = rig.ctl_json(&["stack", "process.exe", "--rarest", "5"])?;
    if rows.len() != 5 {
        return Err(unexpected("picketctl stack", &format!("{rows:?}")));
    }
    figures.push(plain(
        "picketctl stack, the program and its connection included".to_owned(),
        began.elapsed(),
    ));
    for (name, sql) in JOINS {
        figures.push(join(&rig, name, sql)?);
    }
    figure::print(&figures, json);
    Ok(())
}

/// A join in SQL, by `picketctl query`. That it ends at its bounds is a figure too.
fn join(rig: &Rig, name: &str, sql: &str) -> Result<Figure, Failure> {
    let began = Instant::now();
    let ended = rig.ctl(&["query", "--json", sql])?;
    let took = began.elapsed();
    let mut figure = plain(format!("SQL: {name}"), took);
    if ended.code == Some(0) {
        figure.conditions = format!("{BUILD} build, {}", ended.stdout.trim());
    } else if ended.stderr.contains("query_bounds") {
        figure.value = format!("> {}", figure.value);
        figure.conditions = format!("{BUILD} build, ended at its bounds");
    } else {
        return Err(unexpected(name, &ended.stderr));
    }
    Ok(figure)
}

/// What hunters join.
const JOINS: &[(&str, &str)] = &[
    (
        "connections with the start of their process",
        "SELECT count(*) AS n FROM network AS n JOIN process AS p ON p.process_uid = n.process_uid WHERE n.kind = 'net_connect' AND p.kind = 'exec'",
    ),
    (
        "logins with the programs of their session",
        "SELECT count(*) AS n FROM login AS l JOIN process AS p ON p.host_id = l.host_id AND p.process_session = l.login_session WHERE l.kind = 'login' AND p.kind = 'exec'",
    ),
    (
        "findings with the end of their process",
        "SELECT count(*) AS n FROM finding AS f JOIN process AS p ON p.process_uid = f.process_uid WHERE p.kind = 'exit'",
    ),
];

fn sizes(filled: &Filled) -> Vec<Figure> {
    let each = |bytes: u64| float(bytes) / float(filled.events.max(1));
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / float(filled.events.max(1));
    let conditions = format!(
        "{BUILD} build, {} events of 40 hosts over a day, {} batches, {} files",
        filled.events, filled.batches, filled.files
    );
    let sealed = each(filled.sealed_bytes);
    let figure = |name: &str, value: String, unit| Figure {
        name: name.to_owned(),
        value,
        unit,
        goal: "-",
        reached: true,
        anchor: "",
        conditions: conditions.clone(),
    };
    vec![
        Figure {
            goal: "<= 40",
            reached: sealed <= 40.0,
            anchor: "52.8, events of 284 B, without their exact bytes",
            ..figure("sealed, per event", format!("{sealed:.1}"), "bytes")
        },
        figure(
            "write-ahead log, per event",
            format!("{:.1}", each(filled.log_bytes)),
            "bytes",
        ),
        figure(
            "to seal and merge, per event",
            format!("{:.1}", micros(filled.sealing)),
            "us",
        ),
        Figure {
            goal: "<= 2.5",
            reached: micros(filled.sealing_cpu) <= 2.5,
            ..figure(
                "CPU to seal and merge, per event",
                format!("{:.1}", micros(filled.sealing_cpu)),
                "us",
            )
        },
        figure(
            "to make, sign, check and store, per event",
            format!("{:.1}", micros(filled.storing)),
            "us",
        ),
    ]
}

/// What each column takes of an event's room.
fn column_sizes(filled: &Filled) -> Vec<Figure> {
    let each = |bytes: u64| float(bytes) / float(filled.events.max(1));
    let taken = filled.columns.iter().filter(|column| column.pages > 0);
    let figures = taken.map(|column| {
        let name = match column.name.as_str() {
            "" => "footers and indexes",
            name => name,
        };
        Figure {
            conditions: format!(
                "of it filters {:.2}; plain {:.1}",
                each(column.filters),
                each(column.plain)
            ),
            ..plain_bytes(name, each(column.pages + column.filters))
        }
    });
    figures.collect()
}

fn plain_bytes(name: &str, each: f64) -> Figure {
    Figure {
        name: format!("column: {name}"),
        value: format!("{each:.2}"),
        unit: "bytes",
        goal: "-",
        reached: true,
        anchor: "",
        conditions: String::new(),
    }
}

/// The log alone.
fn open_log(data: &Path) -> Result<Store, Failure> {
    let opened = Store::open(&data.join("wal"), StoreOptions::default());
    let (store, _) = opened.map_err(|error| unexpected("the log", &error.to_string()))?;
    Ok(store)
}

/// The log and what is sealed of it; readers see that as long as the sealer is there.
fn open_sealed(data: &Path) -> Result<(Store, Sealer), Failure> {
    let store = open_log(data)?;
    let (reader, folder) = (store.reader(), data.join("sealed"));
    let opened = Sealer::open(&reader, &folder, SealOptions::default());
    let (sealer, _) = opened.map_err(|error| unexpected("sealed", &error.to_string()))?;
    Ok((store, sealer))
}

fn questions(reader: &Reader) -> Result<Vec<Asked>, Failure> {
    let one = |kinds: &[Kind]| -> Result<StoredEvent, Failure> {
        let query = Query {
            kinds: kinds.iter().copied().collect::<KindSet>(),
            ..Query::default()
        };
        let found = reader.newest(&query, 5_000);
        let found = found.map_err(|error| unexpected("a search", &error.to_string()))?;
        let first = found.into_iter().next();
        first.ok_or_else(|| unexpected("a search", "nothing"))
    };
    let (exec, connect) = (one(&[Kind::Exec])?, one(&[Kind::NetConnect])?);
    let process = exec.event.process.as_ref();
    let process = process.ok_or_else(|| unexpected("an exec", "no process"))?;
    let uid = process.uid.to_string();
    let parent = process.parent_uid.map(|uid| uid.to_string());
    let remote = match &connect.event.detail {
        Some(Detail::Network(network)) => network.remote_ip.map(|ip| ip.to_string()),
        _ => None,
    };
    let search = |name, anchor, query| Asked {
        name,
        anchor,
        query,
        stacked: None,
    };
    let minutes = Duration::from_mins(10);
    let of_host = Query {
        hosts: Some([exec.host].into_iter().collect()),
        since: Some(exec.event.time.minus(minutes)),
        until: Some(exec.event.time),
        ..Query::default()
    };
    let absent = "ab".repeat(32);
    Ok(vec![
        search("newest 1,000", "", Query::default()),
        search("one host, ten minutes", "9", of_host),
        search(
            "substring of the arguments",
            "475",
            whole("process.argv ~ 'jobs/00f'".to_owned())?,
        ),
        search("one process", "7", whole(format!("process.uid = '{uid}'"))?),
        search(
            "children of one process",
            "7",
            whole(format!(
                "process.parent_uid = '{}'",
                parent.unwrap_or_default()
            ))?,
        ),
        search(
            "a hash that is nowhere",
            "136",
            whole(format!("process.sha256 = '{absent}'"))?,
        ),
        search(
            "one address",
            "",
            whole(format!(
                "network.remote_ip = '{}'",
                remote.unwrap_or_default()
            ))?,
        ),
        search(
            "a user that is nowhere",
            "",
            whole("process.user.name = 'nobody-at-all'".to_owned())?,
        ),
        Asked {
            name: "stack of programs",
            anchor: "92",
            query: Query::default(),
            stacked: Some("process.exe"),
        },
    ])
}

/// All events that satisfy an expression.
fn whole(text: String) -> Result<Query, Failure> {
    let filter = Filter::parse(&text);
    let filter = filter.map_err(|wrong| unexpected("an expression", &wrong.to_string()))?;
    Ok(Query {
        filter: Some(filter),
        ..Query::default()
    })
}

/// The answers of both, and the time of the sealed one.
fn answer(asked: &Asked, log: &Reader, sealed: &Reader, short: bool) -> Result<Figure, Failure> {
    let mut best = Duration::MAX;
    let mut found = Found::default();
    for _ in 0..if short { 2 } else { 5 } {
        let began = Instant::now();
        found = Found::of(asked, sealed)?;
        best = best.min(began.elapsed());
    }
    let began = Instant::now();
    let expected = Found::of(asked, log)?;
    let scan = began.elapsed();
    if found != expected {
        return Err(unexpected(
            asked.name,
            "the sealed files do not answer as the log does",
        ));
    }
    let mut figure = plain(format!("search: {}", asked.name), best);
    figure.anchor = asked.anchor;
    figure.conditions = format!(
        "{BUILD} build, {} found, best of some, in one process; the log alone took {:.0} ms",
        found.count(),
        scan.as_secs_f64() * 1e3
    );
    Ok(figure)
}

/// What a question gave.
#[derive(Debug, Default, PartialEq)]
struct Found {
    events: Vec<StoredEvent>,
    values: Vec<(String, u64, u64, UnixNanos, UnixNanos)>,
}

impl Found {
    fn of(asked: &Asked, reader: &Reader) -> Result<Self, Failure> {
        let failed = |error: picket_store::StoreError| unexpected(asked.name, &error.to_string());
        let Some(path) = asked.stacked else {
            let events = reader.newest(&asked.query, 1_000).map_err(failed)?;
            return Ok(Self {
                events,
                values: Vec::new(),
            });
        };
        let field = Field::named(path).ok_or_else(|| unexpected("a field", path))?;
        let what = Stacking {
            field,
            by: None,
            limit: 100,
        };
        let stack: Stack = reader.stack(&asked.query, what).map_err(failed)?;
        let rows = stack.rows.into_iter();
        let values = rows.map(|row| (row.value, row.count, row.hosts, row.first, row.last));
        Ok(Self {
            events: Vec::new(),
            values: values.collect(),
        })
    }

    fn count(&self) -> usize {
        self.events.len() + self.values.len()
    }
}

fn plain(name: String, time: Duration) -> Figure {
    Figure {
        name,
        value: format!("{:.1}", time.as_secs_f64() * 1e3),
        unit: "ms",
        goal: "-",
        reached: true,
        anchor: "",
        conditions: format!("{BUILD} build"),
    }
}

fn unexpected(what: &str, text: &str) -> Failure {
    Failure::Unexpected {
        what: what.to_owned(),
        text: text.to_owned(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of events and bytes are far below 2^52"
)]
fn float(number: u64) -> f64 {
    number as f64
}

const BUILD: &str = if cfg!(debug_assertions) {
    "everyday"
} else {
    "release"
};
