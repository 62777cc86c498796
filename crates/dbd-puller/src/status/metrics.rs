//! What was noted, in Prometheus' text format.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry,
    TextEncoder,
};

use crate::error::PullError;

use super::{Noted, Now, Table};

/// The bounds of the buckets of a round's time, in seconds: from one that finds nothing new to a first copy.
const BUCKETS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0];

/// Why metrics can be made: their names and labels stand in this file.
const CONSTANT: &str = "names and labels are well-formed, and each is there once";

pub(super) fn round_seconds() -> Histogram {
    let opts = HistogramOpts::new(
        "dbd_puller_round_duration_seconds",
        "Seconds that a pull of all tables took, failed ones too.",
    );
    Histogram::with_opts(opts.buckets(BUCKETS.to_vec())).expect(CONSTANT)
}

/// All that was noted.
pub(super) fn text(noted: &Noted) -> Result<String, prometheus::Error> {
    let registry = Metrics(Registry::new());
    registry.add(noted.round_seconds.clone());
    registry.gauges(
        "dbd_build_info",
        "1, with the version of this program.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1.0)],
    );
    registry.gauge(
        "dbd_puller_ready",
        "1 when rounds come to their end, otherwise 0.",
        f64::from(u8::from(noted.is_ready())),
    );
    registry.gauge(
        "dbd_puller_start_timestamp_seconds",
        "When the program began.",
        seconds(noted.began),
    );
    let received = IntCounter::new(
        "dbd_puller_received_bytes_total",
        "Bytes of the answers of the dbd-server about tables.",
    );
    let received = registry.add(received.expect(CONSTANT));
    received.inc_by(noted.received.load(Ordering::Relaxed));
    registry.of_rounds(&noted.now());
    registry.of_tables(&noted.now());
    let mut text = String::new();
    TextEncoder::new().encode_utf8(&registry.0.gather(), &mut text)?;
    Ok(text)
}

/// Metrics for one scrape.
struct Metrics(Registry);

impl Metrics {
    fn of_rounds(&self, now: &Now) {
        let errors = now.errors.iter().map(|(kind, count)| (*kind, *count));
        self.counters(
            "dbd_puller_errors_total",
            "Pulls of all tables that failed, by the kind of failure; incomplete: some tables did.",
            "kind",
            errors,
        );
        if let Some(succeeded) = now.succeeded {
            self.gauge(
                "dbd_puller_last_success_timestamp_seconds",
                "When the last pull ended in which no table failed.",
                seconds(succeeded),
            );
        }
    }

    fn of_tables(&self, now: &Now) {
        for (name, help, count) in [
            (
                "dbd_puller_rows_applied_total",
                "Changed rows that were committed.",
                (|table| table.applied.load(Ordering::Relaxed)) as fn(&Table) -> u64,
            ),
            (
                "dbd_puller_rows_deleted_total",
                "Rows that were deleted since the source has them no more.",
                |table| table.deleted,
            ),
            (
                "dbd_puller_rows_fetched_total",
                "Rows that were missing and were found by comparing.",
                |table| table.fetched,
            ),
            (
                "dbd_puller_rows_repaired_total",
                "Rows that differed and were found by comparing.",
                |table| table.repaired,
            ),
            (
                "dbd_puller_table_errors_total",
                "Pulls and comparisons of a table that failed.",
                |table| table.errors,
            ),
        ] {
            let tables = now.tables.iter();
            let counts = tables.map(|(name, table)| (name.as_str(), count(table)));
            self.counters(name, help, "table", counts);
        }
        let tables = || now.tables.iter();
        self.gauges(
            "dbd_puller_table_failing",
            "1 for a table whose last pull or comparison failed, otherwise 0.",
            "table",
            tables().map(|(name, table)| (name.as_str(), f64::from(u8::from(table.fails)))),
        );
        self.gauges(
            "dbd_puller_table_last_success_timestamp_seconds",
            "When a table was last brought to its horizon.",
            "table",
            tables().filter_map(|(name, table)| Some((name.as_str(), seconds(table.succeeded?)))),
        );
        let lags = tables().zip(now.lags_now().0);
        self.gauges(
            "dbd_puller_lag_seconds",
            "How far a table is behind the source's time; from its first whole pull on.",
            "table",
            lags.filter_map(|((name, _), lag)| Some((name.as_str(), lag?))),
        );
    }

    fn gauge(&self, name: &str, help: &str, value: f64) {
        self.add(Gauge::new(name, help).expect(CONSTANT)).set(value);
    }

    fn gauges<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        let gauges = GaugeVec::new(Opts::new(name, help), &[label]).expect(CONSTANT);
        for (of, value) in values {
            gauges.with_label_values(&[of]).set(value);
        }
        self.add(gauges);
    }

    fn counters<'a>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label]).expect(CONSTANT);
        for (of, value) in values {
            counters.with_label_values(&[of]).inc_by(value);
        }
        self.add(counters);
    }

    fn add<C: Collector + Clone + 'static>(&self, metric: C) -> C {
        self.0.register(Box::new(metric.clone())).expect(CONSTANT);
        metric
    }
}

/// The kind of a failure, as a label.
pub(super) fn label(error: &PullError) -> &'static str {
    match error {
        PullError::Usage(_) => "usage",
        PullError::Secret(_) => "secret",
        PullError::Tls(_) => "tls",
        PullError::Speech { .. } => "speech",
        PullError::Unreachable { .. } => "unreachable",
        PullError::Silent { .. } => "silent",
        PullError::Refusal { .. } => "refusal",
        PullError::CutShort { .. } => "cut_short",
        PullError::Locked { .. } => "locked",
        PullError::NoDestination { .. } => "no_destination",
        PullError::Destination { .. } => "destination",
        PullError::LockLost { .. } => "lock_lost",
        PullError::Table { .. } => "table",
        PullError::Row { .. } => "row",
        PullError::Waits { .. } => "waits",
        PullError::Incomplete { .. } => "incomplete",
        PullError::Differs { .. } => "differs",
        PullError::Stopped => "stopped",
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
