//! What a monitoring system is told, in Prometheus' text format. A scrape asks the source nothing.
//!
//! Labels are bounded: paths by the router, databases and tables by those that there are, since a name is
//! counted only after it was found.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use common::frame::Basis;
use common::ident::Ident;
use hyper::body::{Frame, SizeHint};
use prometheus::core::Collector;
use prometheus::proto::Metric;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, Opts, Registry, TEXT_FORMAT, TextEncoder,
};

use crate::access::Gate;
use crate::asked::Service;
use crate::openapi::answers;
use crate::viewer::Viewer;

/// The bounds of the buckets of a request's time, in seconds: from a look that an index answers to a first copy.
const BUCKETS: [f64; 12] = [
    0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0, 600.0,
];

/// The label of a request for a path that there is not.
const NO_PATH: &str = "none";

/// Why metrics can be made: their names and labels stand in this file.
const CONSTANT: &str = "names and labels are well-formed, and each is there once";

/// What has been counted since the program began. A handle, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    answers: IntCounterVec,
    broken_off: IntCounterVec,
    answer_seconds: CounterVec,
    rows: IntCounterVec,
    bytes: IntCounterVec,
}

/// What an answer about a table comes to. Its time is that from when this was made until it is dropped.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) rows: IntCounter,
    /// Before compression.
    pub(crate) bytes: IntCounter,
    /// By this program or the source, not by the caller.
    pub(crate) broken_off: IntCounter,
    answers: IntCounter,
    seconds: Counter,
    began: Instant,
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.answers.inc();
        self.seconds.inc_by(self.began.elapsed().as_secs_f64());
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        const BY_TABLE: [&str; 2] = ["database", "table"];
        let registry = Registry::new();
        let by_table = |name, help| {
            let counter = IntCounterVec::new(Opts::new(name, help), &BY_TABLE);
            registered(&registry, counter.expect(CONSTANT))
        };
        let requests = Opts::new(
            "dbd_server_requests_total",
            "Requests by path and HTTP status.",
        );
        let request_seconds = HistogramOpts::new(
            "dbd_server_request_duration_seconds",
            "Seconds from the head of a request to the end of its answer.",
        );
        let answer_seconds = Opts::new(
            "dbd_server_answer_seconds_total",
            "Seconds that answers about a table took in all.",
        );
        Self(Arc::new(Counted {
            requests: registered(
                &registry,
                IntCounterVec::new(requests, &["path", "status"]).expect(CONSTANT),
            ),
            request_seconds: registered(
                &registry,
                HistogramVec::new(request_seconds.buckets(BUCKETS.to_vec()), &["path"])
                    .expect(CONSTANT),
            ),
            answers: by_table(
                "dbd_server_answers_total",
                "Answers with rows, digests or keys of a table that have ended.",
            ),
            broken_off: by_table(
                "dbd_server_answers_broken_off_total",
                "Those of them that were broken off by a failure or a bound.",
            ),
            answer_seconds: registered(
                &registry,
                CounterVec::new(answer_seconds, &BY_TABLE).expect(CONSTANT),
            ),
            rows: by_table(
                "dbd_server_rows_total",
                "Rows of a table that were written into answers.",
            ),
            bytes: by_table(
                "dbd_server_bytes_total",
                "Bytes of answers about a table, before compression.",
            ),
            registry,
        }))
    }

    /// Begins to count for an answer about a table that there is.
    pub(crate) fn meter(&self, database: &Ident, table: &Ident) -> Meter {
        let labels = [database.as_str(), table.as_str()];
        let Counted {
            answers,
            broken_off,
            answer_seconds,
            rows,
            bytes,
            ..
        } = &*self.0;
        Meter {
            rows: rows.with_label_values(&labels),
            bytes: bytes.with_label_values(&labels),
            broken_off: broken_off.with_label_values(&labels),
            answers: answers.with_label_values(&labels),
            seconds: answer_seconds.with_label_values(&labels),
            began: Instant::now(),
        }
    }
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> C {
    registry.register(Box::new(metric.clone())).expect(CONSTANT);
    metric
}

/// `GET /-/metrics`: all that was counted, and where the source stands.
#[utoipa::path(
    get,
    path = "/-/metrics",
    tag = "server",
    summary = "Metrics",
    responses((status = 200, description = "In Prometheus' text format", body = answers::Metrics, content_type = "text/plain"))
)]
pub(crate) async fn metrics(
    State(service): State<Service>,
    Extension(gate): Extension<Gate>,
    Extension(viewer): Extension<Viewer>,
) -> Response {
    let mut families = service.metrics.0.registry.gather();
    for family in &mut families {
        family.mut_metric().retain(|metric| shows(&viewer, metric));
    }
    families.retain(|family| !family.get_metric().is_empty());
    families.extend(standing(&service, &gate).gather());
    let mut text = String::new();
    match TextEncoder::new().encode_utf8(&families, &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Whether what was counted is of no table, or of one that is there for the viewer (R14).
fn shows(viewer: &Viewer, metric: &Metric) -> bool {
    let label = |name| {
        let mut labels = metric.get_label().iter();
        labels.find(|label| label.name() == name)
    };
    match (label("database"), label("table")) {
        // What others were sent of the table, with what is hidden, would tell its size.
        (Some(database), Some(table)) => {
            let (database, table) = (database.value(), table.value());
            viewer.sees_table(database, table) && !viewer.lacks_columns_of(database, table)
        }
        _ => true,
    }
}

/// What holds at this moment. What is not known is left out.
fn standing(service: &Service, gate: &Gate) -> Registry {
    let registry = Registry::new();
    let failed = IntCounter::new(
        "dbd_server_failed_logins_total",
        "Logins with a wrong user name or password.",
    );
    registered(&registry, failed.expect(CONSTANT)).inc_by(gate.failed());
    let gauge = |name: &str, help: &str, value: f64| {
        let gauge = Gauge::new(name, help).expect(CONSTANT);
        registered(&registry, gauge).set(value);
    };
    let labelled = |name: &str, help: &str, label: &str, values: &[(&str, f64)]| {
        let gauges = GaugeVec::new(Opts::new(name, help), &[label]).expect(CONSTANT);
        for (of, value) in values {
            gauges.with_label_values(&[of]).set(*value);
        }
        registered(&registry, gauges);
    };
    labelled(
        "dbd_build_info",
        "1, with the version of this program.",
        "version",
        &[(env!("CARGO_PKG_VERSION"), 1.0)],
    );
    gauge(
        "dbd_server_ready",
        "1 when the horizon is known and the source answers, otherwise 0.",
        f64::from(u8::from(service.horizon.is_ready())),
    );
    let state = service.horizon.state().ok();
    let is = |basis| f64::from(u8::from(state.as_ref().is_some_and(|s| s.basis == basis)));
    labelled(
        "dbd_server_horizon_basis",
        "1 for how the horizon is known; 0 for both while it is not.",
        "basis",
        &[
            ("proven", is(Basis::Proven)),
            ("assumed", is(Basis::Assumed)),
        ],
    );
    if let Some(state) = &state {
        let behind = state.now.seconds_since(state.horizon).max(0.0);
        gauge(
            "dbd_server_horizon_age_seconds",
            "How far the horizon lies behind the source's time.",
            behind + service.horizon.age_of_look().as_secs_f64(),
        );
    }
    if let Some(seconds) = service.horizon.oldest_transaction() {
        gauge(
            "dbd_server_oldest_transaction_seconds",
            "For how long the oldest transaction that has written can have been open; 0 when there is none.",
            seconds,
        );
    }
    for (name, help, (taken, most)) in [
        (
            "dbd_server_answers_in_progress",
            "Answers that are being sent.",
            service.places.taken(),
        ),
        (
            "dbd_server_source_connections",
            "Connections to the source that are in use, besides that of the horizon.",
            service.source.in_use(),
        ),
    ] {
        gauge(name, help, taken as f64);
        gauge(
            &format!("{name}_limit"),
            "How many of them there may be at most.",
            most as f64,
        );
    }
    registry
}

/// Counts a request, and takes the time until its answer has ended.
pub(crate) async fn count(
    State(metrics): State<Metrics>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    let path = path.as_ref().map_or(NO_PATH, MatchedPath::as_str);
    let Counted {
        requests,
        request_seconds,
        ..
    } = &*metrics.0;
    requests
        .with_label_values(&[path, response.status().as_str()])
        .inc();
    let seconds = request_seconds.with_label_values(&[path]);
    response.map(|body| {
        Body::new(Timed {
            body,
            seconds,
            began,
        })
    })
}

/// A body that takes the time until it ends or is dropped.
struct Timed {
    body: Body,
    seconds: Histogram,
    began: Instant,
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
