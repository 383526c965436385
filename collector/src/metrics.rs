//! What is counted, as Prometheus reads it.

use std::sync::Mutex;
use std::sync::PoisonError;

use picket_event::Class;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::refusal::Refusal;

/// All figures of the collector.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    refused: Family<Reason, Counter>,
    calls_refused: Family<Reason, Counter>,
    batches: Family<OfClass, Counter>,
    events: Family<OfClass, Counter>,
    /// Batches that had been stored before.
    pub duplicates: Counter,
    /// Two histories of one host: each is an alarm.
    pub forks: Counter,
    /// Bytes of payload that were stored.
    pub payload_bytes: Counter,
    /// Syncs of the write-ahead log.
    pub syncs: Counter,
    /// How long each took, in seconds.
    pub sync_seconds: Histogram,
    /// Bytes in all segments of the store.
    pub store_bytes: Gauge,
    /// Bytes of the log that are not sealed yet.
    pub unsealed_bytes: Gauge,
    /// Bytes in all sealed files.
    pub sealed_bytes: Gauge,
    /// Events that were sealed.
    pub sealed_events: Counter,
    /// Events that were sealed anew after their file was damaged.
    pub resealed_events: Counter,
    /// Events of damaged files that are lost.
    pub lost_events: Gauge,
    /// Damaged files that stay where they are.
    pub damaged_files: Gauge,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: Counter,
    /// TLS handshakes that ended well.
    pub handshakes: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    /// Hosts with a session.
    pub hosts_connected: Gauge,
    /// Commands handed to sessions.
    pub commands_delivered: Counter,
    /// Alarms about hosts.
    pub alarms: Counter,
    /// Receipts taken from the stored events.
    pub receipts: Counter,
    exported: Family<OfExport, Counter>,
    export_failures: Family<OfExport, Counter>,
    export_rejected: Family<OfExport, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfClass {
    class: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfExport {
    export: String,
}

impl Metrics {
    /// An export is there, at zero.
    pub fn export_begins(&self, name: &str) {
        self.exported(name, 0);
        let export = name.to_owned();
        let export = OfExport { export };
        drop(self.export_failures.get_or_create(&export));
        drop(self.export_rejected.get_or_create(&export));
    }

    /// An export handed so many events over.
    pub fn exported(&self, name: &str, events: usize) {
        let export = name.to_owned();
        let counter = self.exported.get_or_create(&OfExport { export });
        counter.inc_by(events as u64);
    }

    /// A receiver took a group and said that it throws so many events of it away.
    pub fn export_rejected(&self, name: &str, events: u64) {
        let export = name.to_owned();
        let counter = self.export_rejected.get_or_create(&OfExport { export });
        counter.inc_by(events);
    }

    /// An export could not hand its events over.
    pub fn export_fails(&self, name: &str) {
        let export = name.to_owned();
        self.export_failures
            .get_or_create(&OfExport { export })
            .inc();
    }

    /// Everything at zero; each reason is there from the start, so that its first count shows.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("picket")),
            refused: Family::default(),
            calls_refused: Family::default(),
            batches: Family::default(),
            events: Family::default(),
            duplicates: Counter::default(),
            forks: Counter::default(),
            payload_bytes: Counter::default(),
            syncs: Counter::default(),
            sync_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            store_bytes: Gauge::default(),
            unsealed_bytes: Gauge::default(),
            sealed_bytes: Gauge::default(),
            sealed_events: Counter::default(),
            resealed_events: Counter::default(),
            lost_events: Gauge::default(),
            damaged_files: Gauge::default(),
            handshakes_failed: Counter::default(),
            handshakes: Counter::default(),
            connections: Gauge::default(),
            hosts_connected: Gauge::default(),
            commands_delivered: Counter::default(),
            alarms: Counter::default(),
            receipts: Counter::default(),
            exported: Family::default(),
            export_failures: Family::default(),
            export_rejected: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register_store(&self, r: &mut Registry) {
        r.register(
            "export_events",
            "Events that an export handed over",
            self.exported.clone(),
        );
        r.register(
            "export_failures",
            "Attempts of an export that failed",
            self.export_failures.clone(),
        );
        r.register(
            "export_rejected",
            "Events that a receiver of an export took and threw away, by its own word",
            self.export_rejected.clone(),
        );
        r.register(
            "store_bytes",
            "Bytes in the write-ahead log",
            self.store_bytes.clone(),
        );
        r.register(
            "unsealed_bytes",
            "Bytes of the write-ahead log that are not sealed into columns yet",
            self.unsealed_bytes.clone(),
        );
        r.register(
            "sealed_bytes",
            "Bytes in sealed files",
            self.sealed_bytes.clone(),
        );
        r.register(
            "sealed_events",
            "Events sealed into columns",
            self.sealed_events.clone(),
        );
        r.register(
            "sealed_again_events",
            "Events sealed anew from the log because their file was damaged",
            self.resealed_events.clone(),
        );
        r.register(
            "sealed_lost_events",
            "Events of damaged sealed files that are nowhere else",
            self.lost_events.clone(),
        );
        r.register(
            "sealed_damaged_files",
            "Damaged sealed files that stay where they are",
            self.damaged_files.clone(),
        );
    }

    fn register(&self) {
        for refusal in Refusal::ALL {
            drop(self.refused.get_or_create(&Reason {
                reason: refusal.name(),
            }));
            drop(self.calls_refused.get_or_create(&Reason {
                reason: refusal.name(),
            }));
        }
        let mut all = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let r = &mut *all;
        r.register(
            "ingest_refused",
            "Batches refused, by reason",
            self.refused.clone(),
        );
        r.register(
            "calls_refused",
            "Calls refused, by reason",
            self.calls_refused.clone(),
        );
        r.register("ingest_batches", "Batches stored", self.batches.clone());
        r.register("ingest_events", "Events stored", self.events.clone());
        r.register(
            "ingest_duplicates",
            "Batches that came again",
            self.duplicates.clone(),
        );
        r.register(
            "ingest_forks",
            "Second histories of a host",
            self.forks.clone(),
        );
        r.register(
            "ingest_payload_bytes",
            "Payload bytes stored",
            self.payload_bytes.clone(),
        );
        r.register(
            "wal_syncs",
            "Syncs of the write-ahead log",
            self.syncs.clone(),
        );
        r.register(
            "wal_sync_seconds",
            "Time of a sync",
            self.sync_seconds.clone(),
        );
        self.register_store(r);
        r.register("handshakes", "TLS handshakes", self.handshakes.clone());
        r.register(
            "handshakes_failed",
            "Failed TLS handshakes",
            self.handshakes_failed.clone(),
        );
        r.register("connections", "Open connections", self.connections.clone());
        r.register(
            "hosts_connected",
            "Hosts with a session",
            self.hosts_connected.clone(),
        );
        r.register(
            "commands_delivered",
            "Commands handed out",
            self.commands_delivered.clone(),
        );
        r.register("host_alarms", "Alarms about hosts", self.alarms.clone());
        r.register("receipts", "Receipts taken in", self.receipts.clone());
    }

    /// A batch was refused.
    pub fn batch_refused(&self, refusal: Refusal) {
        self.refused
            .get_or_create(&Reason {
                reason: refusal.name(),
            })
            .inc();
        if matches!(refusal, Refusal::ChainFork | Refusal::TwoSuccessors) {
            self.forks.inc();
        }
    }

    /// A call was refused.
    pub fn call_refused(&self, refusal: Refusal) {
        self.calls_refused
            .get_or_create(&Reason {
                reason: refusal.name(),
            })
            .inc();
    }

    /// A batch was stored.
    pub fn batch_stored(&self, class: Class, events: u64, payload: usize) {
        let class = OfClass {
            class: class.name(),
        };
        self.batches.get_or_create(&class).inc();
        self.events.get_or_create(&class).inc_by(events);
        self.payload_bytes.inc_by(payload as u64);
    }

    /// As text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        match encode(&mut text, &registry) {
            Ok(()) => text,
            Err(std::fmt::Error) => String::new(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
