//! The task that looks at the source all the time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::frame::{Basis, SourceState};
use common::process::chain;
use common::session::Address;
use common::stamp::Stamp;
use tokio::sync::{Notify, watch};

use crate::clock::{Change, Clock, Reading};
use crate::horizon::{Found, NotKnown, Settings};
use crate::replication::{self, Replication};
use crate::sampler::{LookError, Sampler, Starts};
use crate::tracker::{Holder, Sample, Tracker, Verdict};

/// Between two looks at the source.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long one look may take before its connection is given up.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two attempts to connect.
const RECONNECT: Duration = Duration::from_secs(1);

/// Between two questions whether the source is a replica.
const REPLICATION_INTERVAL: Duration = Duration::from_secs(10);

/// How long a transaction or statement may hold the horizon back before the log names it, in seconds.
const HELD_LONG: f64 = 60.0;

/// The statement that lists prepared transactions.
const XA_RECOVER: &str = "XA RECOVER";

/// How long a connection is used: behind one address another server may have come to stand while those
/// that there are still lead to the former one.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// How long a connection may take that is to replace one which works.
const REPLACE_TIMEOUT: Duration = Duration::from_secs(2);

/// Looks at the source until nobody wants to know any more.
pub(crate) async fn watch_source(
    source: Address,
    settings: Settings,
    sender: watch::Sender<Found>,
    doubt: Arc<Notify>,
) {
    let mut watcher = Watcher::new(settings);
    let mut connected = true;
    while !sender.is_closed() {
        let error = match tokio::time::timeout(LOOK_TIMEOUT, Sampler::connect(&source)).await {
            Ok(Ok(mut sampler)) => {
                if !connected {
                    tracing::info!("the source answers again");
                }
                connected = true;
                let error = watcher.watch(&source, &mut sampler, &sender, &doubt).await;
                sampler.leave().await;
                error
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => "no connection in time".to_owned(),
        };
        if connected {
            tracing::warn!(%error, "cannot look at the source; trying again every second");
            connected = false;
        }
        sender.send_modify(|found| {
            // A horizon stays true until it is stale; without one, the reader wants the reason.
            if found.state.is_err() {
                found.state = Err(NotKnown::new(
                    "the source cannot be reached; see that it runs, and the server's log",
                ));
            }
        });
        tokio::time::sleep(RECONNECT).await;
    }
}

struct Watcher {
    settings: Settings,
    clock: Clock,
    starts: Starts,
    tracker: Tracker,
    /// The assumed horizon; it never goes back either.
    assumed: Stamp,
    replication: Replication,
    asked_replication: Option<Instant>,
    /// What was logged already and still holds.
    said: VecDeque<String>,
    /// The holder that the log has named last.
    held: Option<Holder>,
}

impl Watcher {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            clock: Clock::default(),
            starts: Starts::default(),
            tracker: Tracker::default(),
            assumed: Stamp::ZERO,
            replication: Replication::None,
            asked_replication: None,
            said: VecDeque::new(),
            held: None,
        }
    }

    /// Looks at the source until it fails; answers why.
    async fn watch(
        &mut self,
        source: &Address,
        sampler: &mut Sampler,
        sender: &watch::Sender<Found>,
        doubt: &Notify,
    ) -> String {
        self.asked_replication = None;
        let mut renewed = Instant::now();
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !sender.is_closed() {
            let doubted = tokio::select! {
                _ = ticks.tick() => false,
                () = doubt.notified() => true,
            };
            let age = renewed.elapsed();
            if age > CONNECTION_LIFE || (doubted && age > RECONNECT) {
                self.renew(source, sampler).await;
                renewed = Instant::now();
            } else if doubted {
                continue;
            }
            let state = match tokio::time::timeout(LOOK_TIMEOUT, self.look(sampler)).await {
                Ok(Ok(state)) => state,
                Ok(Err(error)) => return chain(&error),
                Err(_) => return format!("no answer within {} s", LOOK_TIMEOUT.as_secs()),
            };
            sender.send_replace(Found {
                at: Instant::now(),
                oldest_transaction: self.oldest_transaction(&state),
                state,
                overlaps: self.clock.overlaps().clone(),
            });
        }
        "not wanted any more".to_owned()
    }

    /// For how long the oldest transaction that has written can have been open, in seconds.
    fn oldest_transaction(&self, state: &Result<SourceState, NotKnown>) -> Option<f64> {
        let state = state.as_ref().ok()?;
        let since = self.tracker.oldest_transaction();
        let open = since.map_or(0.0, |since| state.now.seconds_since(since).max(0.0));
        (state.basis == Basis::Proven).then_some(open)
    }

    /// Goes on with a new connection, where there is one to be had.
    async fn renew(&mut self, source: &Address, sampler: &mut Sampler) {
        match tokio::time::timeout(REPLACE_TIMEOUT, Sampler::connect(source)).await {
            Ok(Ok(new)) => {
                std::mem::replace(sampler, new).leave().await;
                self.asked_replication = None;
            }
            Ok(Err(error)) => tracing::debug!(%error, "no new connection; keeping the former"),
            Err(_) => tracing::debug!("no new connection in time; keeping the former"),
        }
    }

    async fn look(
        &mut self,
        sampler: &mut Sampler,
    ) -> Result<Result<SourceState, NotKnown>, mysql_async::Error> {
        // First of all: what is known of replication may be of another server.
        let reading = self.read(sampler).await?;
        self.look_at_replication(sampler).await?;
        match self.replication {
            Replication::Stopped => {
                let detail = "the source is a replica that applies no changes now, or does not say \
                              how far behind it is; start its replication, or RESET REPLICA ALL if \
                              it is none any more";
                self.warn(detail);
                return Ok(Err(NotKnown::new(detail)));
            }
            Replication::Starting => {
                return Ok(Err(NotKnown::new(
                    "the source is a replica that does not know yet how far behind it is; ask again \
                     in a second",
                )));
            }
            Replication::Lags(lag) => {
                self.warn(
                    "the source is a replica: the horizon is assumed, behind its lag and --settle",
                );
                return Ok(self.assume(reading, lag));
            }
            Replication::Cluster => {
                self.warn(
                    "the source is a member of a cluster: the horizon is assumed, behind --settle",
                );
                return Ok(self.assume(reading, Duration::ZERO));
            }
            Replication::Unknown => self.warn(
                "cannot see whether the source is a replica or a member of a cluster, where rows \
                 would be missed; grant REPLICATION CLIENT and SELECT ON performance_schema.* \
                 (MySQL), or SLAVE MONITOR (MariaDB)",
            ),
            Replication::None => {}
        }
        if self.settings.assumed {
            return Ok(self.assume(reading, Duration::ZERO));
        }
        match sampler.look(reading.surely_past(), &mut self.starts).await {
            Ok(sample) => {
                let state = self.prove(&reading, sample);
                self.name_prepared(sampler, state).await
            }
            Err(LookError::Denied) => {
                self.warn(
                    "the horizon is assumed, not proven: the account may not see transactions. \
                     Rows whose transaction takes longer than --settle are missed; GRANT PROCESS \
                     ON *.* to prevent that",
                );
                Ok(self.assume(reading, Duration::ZERO))
            }
            Err(LookError::Unreliable(why)) => {
                self.warn(why);
                Ok(self.hold(reading, why))
            }
            Err(LookError::Source(error)) => Err(error),
        }
    }

    /// Reads the clock, and forgets what holds for another clock or server only.
    async fn read(&mut self, sampler: &mut Sampler) -> Result<Reading, mysql_async::Error> {
        let reading = sampler.clock().await?;
        match self.clock.read(reading.clone()) {
            Change::None => {}
            Change::WentForward(by) => {
                tracing::info!(seconds = seconds(by), "the source's clock was set forward");
                self.starts.clock_went_forward(by);
            }
            Change::WentBack(by) => {
                tracing::warn!(seconds = seconds(by), "the source's clock was set back");
                self.tracker = Tracker::default();
            }
            Change::OtherServer(identity) => {
                tracing::warn!(identity, "another server answers as the source now");
                self.tracker = Tracker::default();
                self.starts = Starts::default();
                self.replication = Replication::None;
                self.asked_replication = None;
            }
        }
        Ok(reading)
    }

    fn prove(&mut self, reading: &Reading, sample: Sample) -> Result<SourceState, NotKnown> {
        let now = reading.now;
        match self.tracker.take(sample) {
            Verdict::Known { horizon, holder } => {
                if let Some(message) = self.name_holder(holder, now) {
                    tracing::warn!("{message}");
                }
                self.serve(horizon, now)?;
                self.assumed = self.assumed.max(horizon);
                Ok(SourceState {
                    identity: reading.identity.clone(),
                    now,
                    horizon,
                    basis: Basis::Proven,
                    settle_seconds: None,
                    held_back_by: holder.map(|holder| describe(&holder, now)),
                })
            }
            Verdict::Waiting(waiting) => {
                let names: Vec<String> = waiting.iter().map(name).collect();
                let detail = format!(
                    "waiting for transactions that had written before this server started: {}; \
                     they must end first, or KILL them",
                    names.join(", ")
                );
                self.warn(&detail);
                Err(NotKnown::new(detail))
            }
        }
    }

    /// A horizon is served once it has passed all that was served before the clock went back, or before
    /// another server answered.
    fn serve(&mut self, horizon: Stamp, now: Stamp) -> Result<(), NotKnown> {
        self.clock.serve(horizon).map_err(|until| {
            let detail = format!(
                "the source's clock was set back, or another server answers whose clock is behind: \
                 nothing is served until it is past {until}"
            );
            self.warn(&format!(
                "{detail}; what is written meanwhile is served then"
            ));
            NotKnown {
                detail,
                retry_after: Duration::from_secs_f64(until.seconds_since(now).clamp(1.0, 60.0)),
            }
        })
    }

    /// Adds the names of prepared transactions to a message that speaks of them.
    async fn name_prepared(
        &mut self,
        sampler: &mut Sampler,
        state: Result<SourceState, NotKnown>,
    ) -> Result<Result<SourceState, NotKnown>, mysql_async::Error> {
        match state {
            Err(mut error) if error.detail.contains(XA_RECOVER) => {
                if let Some(names) = sampler.prepared().await? {
                    error.detail = format!("{} (prepared: {names})", error.detail);
                }
                Ok(Err(error))
            }
            state => Ok(state),
        }
    }

    /// Keeps the last horizon, which stays true, and says why it is no later one.
    fn hold(&mut self, reading: Reading, why: &str) -> Result<SourceState, NotKnown> {
        let horizon = self.tracker.horizon();
        let horizon = horizon.ok_or_else(|| NotKnown::new(why))?;
        self.serve(horizon, reading.now)?;
        Ok(SourceState {
            identity: reading.identity,
            now: reading.now,
            horizon,
            basis: Basis::Proven,
            settle_seconds: None,
            held_back_by: Some(why.to_owned()),
        })
    }

    fn assume(&mut self, reading: Reading, lag: Duration) -> Result<SourceState, NotKnown> {
        let Reading { now, identity, .. } = reading;
        let settle = self.settings.settle + lag;
        let micros = u64::try_from(settle.as_micros()).unwrap_or(u64::MAX);
        let assumed = now.minus_micros(micros);
        self.serve(assumed, assumed)?;
        self.assumed = self.assumed.max(assumed);
        Ok(SourceState {
            identity,
            now,
            horizon: self.assumed,
            basis: Basis::Assumed,
            settle_seconds: Some(settle.as_secs_f64()),
            held_back_by: None,
        })
    }

    async fn look_at_replication(
        &mut self,
        sampler: &mut Sampler,
    ) -> Result<(), mysql_async::Error> {
        let asked = self.asked_replication;
        let replica = !matches!(self.replication, Replication::None | Replication::Unknown);
        if replica || asked.is_none_or(|asked| asked.elapsed() > REPLICATION_INTERVAL) {
            let flavour = sampler.flavour();
            let counts = matches!(self.replication, Replication::Lags(_));
            self.replication = replication::look(sampler.connection(), flavour, counts).await?;
            self.asked_replication = Some(Instant::now());
        }
        Ok(())
    }

    /// Logs the same thing once.
    fn warn(&mut self, message: &str) {
        /// Different messages that are remembered.
        const MOST: usize = 16;
        if self.said.iter().any(|said| said == message) {
            return;
        }
        if self.said.len() == MOST {
            self.said.pop_front();
        }
        self.said.push_back(message.to_owned());
        tracing::warn!("{message}");
    }

    /// What the log is to say of who holds the horizon back: once, when it has for long.
    fn name_holder(&mut self, holder: Option<Holder>, now: Stamp) -> Option<String> {
        let Some(holder) = holder else {
            self.held = None;
            return None;
        };
        if now.seconds_since(since(&holder)) <= HELD_LONG || same(self.held.as_ref(), &holder) {
            return None;
        }
        self.held = Some(holder);
        Some(format!(
            "the horizon is held back by {}; what changes meanwhile is served when it ends",
            describe(&holder, now)
        ))
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

fn since(holder: &Holder) -> Stamp {
    match holder {
        Holder::Statement(statement) => statement.started,
        Holder::Transaction(_, bound) => *bound,
    }
}

fn same(said: Option<&Holder>, holder: &Holder) -> bool {
    match (said, holder) {
        (Some(Holder::Statement(a)), Holder::Statement(b)) => a.connection == b.connection,
        (Some(Holder::Transaction(a, _)), Holder::Transaction(b, _)) => a.id == b.id,
        _ => false,
    }
}

/// What holds the horizon back, for people.
fn describe(holder: &Holder, now: Stamp) -> String {
    let age = now.seconds_since(since(holder)).max(0.0);
    match holder {
        Holder::Statement(statement) => {
            format!(
                "a statement of connection {}, for {age:.0} s",
                statement.connection
            )
        }
        Holder::Transaction(transaction, _) => format!("{}, for {age:.0} s", name(transaction)),
    }
}

fn name(transaction: &crate::tracker::Transaction) -> String {
    if transaction.connection == 0 {
        format!(
            "transaction {} without a connection (see {XA_RECOVER})",
            transaction.id
        )
    } else {
        format!("the transaction of connection {}", transaction.connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::Transaction;

    #[test]
    fn whoever_holds_the_horizon_back_for_long_is_named_once() {
        let mut watcher = Watcher::new(Settings {
            settle: Duration::ZERO,
            assumed: false,
        });
        let at = |second: u32| Stamp::parse(&format!("2014-09-01 01:{second:02}:00")).unwrap();
        let held = |id, connection| {
            let transaction = Transaction { id, connection };
            Some(Holder::Transaction(transaction, at(0)))
        };
        let mut said = |holder, minute| watcher.name_holder(holder, at(minute));
        assert_eq!(said(held(1, 7), 1), None, "a minute is not long");
        let message = said(held(1, 7), 2).unwrap();
        assert!(message.contains("connection 7, for 120 s"), "{message}");
        assert_eq!(said(held(1, 7), 3), None, "it was named");
        assert!(said(held(2, 8), 3).unwrap().contains("connection 8"));
        assert_eq!(said(held(2, 8), 4), None);
        assert_eq!(said(None, 5), None);
        assert!(said(held(2, 8), 6).is_some(), "it holds back anew");
    }
}
