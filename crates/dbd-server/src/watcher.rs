//! The task that looks at the source all the time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::frame::{Basis, SourceState};
use common::process::chain;
use common::session::Address;
use common::stamp::Stamp;
use tokio::sync::watch;

use crate::horizon::{Found, NotKnown, Settings};
use crate::replication::{self, Replication};
use crate::sampler::{LookError, Sampler};
use crate::tracker::{Holder, Restart, Tracker, Verdict};

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

/// Looks at the source until nobody wants to know any more.
pub(crate) async fn watch_source(
    source: Address,
    settings: Settings,
    sender: watch::Sender<Found>,
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
                watcher.watch(&mut sampler, &sender).await
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
    tracker: Tracker,
    /// The assumed horizon; it never goes back either.
    assumed: Stamp,
    /// The clock and the server of the last look with an assumed horizon.
    clock: Option<(Stamp, String)>,
    /// With an assumed horizon: the one that the clock has to pass first.
    behind: Option<Stamp>,
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
            tracker: Tracker::default(),
            assumed: Stamp::ZERO,
            clock: None,
            behind: None,
            replication: Replication::None,
            asked_replication: None,
            said: VecDeque::new(),
            held: None,
        }
    }

    /// Looks at the source until it fails; answers why.
    async fn watch(&mut self, sampler: &mut Sampler, sender: &watch::Sender<Found>) -> String {
        self.asked_replication = None;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !sender.is_closed() {
            ticks.tick().await;
            let state = match tokio::time::timeout(LOOK_TIMEOUT, self.look(sampler)).await {
                Ok(Ok(state)) => state,
                Ok(Err(error)) => return chain(&error),
                Err(_) => return format!("no answer within {} s", LOOK_TIMEOUT.as_secs()),
            };
            sender.send_replace(Found {
                at: Instant::now(),
                state,
            });
        }
        "not wanted any more".to_owned()
    }

    async fn look(
        &mut self,
        sampler: &mut Sampler,
    ) -> Result<Result<SourceState, NotKnown>, mysql_async::Error> {
        self.look_at_replication(sampler).await?;
        match self.replication {
            Replication::Stopped => {
                let detail = "the source is a replica that applies no changes now, or does not say \
                              how far behind it is; start its replication, or RESET REPLICA ALL if \
                              it is none any more";
                self.warn(detail);
                return Ok(Err(NotKnown::new(detail)));
            }
            Replication::Lags(lag) => {
                self.warn(
                    "the source is a replica: the horizon is assumed, behind its lag and --settle",
                );
                return self.assume(sampler, lag).await;
            }
            Replication::Cluster => {
                self.warn(
                    "the source is a member of a cluster: the horizon is assumed, behind --settle",
                );
                return self.assume(sampler, Duration::ZERO).await;
            }
            Replication::Unknown => self.warn(
                "cannot see whether the source is a replica or a member of a cluster, where rows \
                 would be missed; grant REPLICATION CLIENT and SELECT ON performance_schema.* \
                 (MySQL), or SLAVE MONITOR (MariaDB)",
            ),
            Replication::None => {}
        }
        if self.settings.assumed {
            return self.assume(sampler, Duration::ZERO).await;
        }
        match sampler.look().await {
            Ok(sample) => {
                let state = self.prove(sample);
                self.name_prepared(sampler, state).await
            }
            Err(LookError::Denied) => {
                self.warn(
                    "the horizon is assumed, not proven: the account may not see transactions. \
                     Rows whose transaction takes longer than --settle are missed; GRANT PROCESS \
                     ON *.* to prevent that",
                );
                self.assume(sampler, Duration::ZERO).await
            }
            Err(LookError::Unreliable(why)) => {
                self.warn(why);
                self.hold(sampler, why).await
            }
            Err(LookError::Source(error)) => Err(error),
        }
    }

    fn prove(&mut self, sample: crate::tracker::Sample) -> Result<SourceState, NotKnown> {
        let (now, identity) = (sample.now, sample.identity.clone());
        let (verdict, restart) = self.tracker.take(sample);
        match restart {
            Some(Restart::ClockWentBack(from, to)) => {
                tracing::warn!(%from, %to, "the source's clock went back; waiting for it to pass");
            }
            Some(Restart::OtherServer(identity)) => {
                tracing::warn!(identity, "another server answers as the source now");
            }
            None => {}
        }
        match verdict {
            Verdict::Known { horizon, holder } => {
                if let Some(message) = self.name_holder(holder, now) {
                    tracing::warn!("{message}");
                }
                self.assumed = self.assumed.max(horizon);
                Ok(SourceState {
                    identity,
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
            Verdict::Behind(until) => Err(behind(until, now)),
        }
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
    async fn hold(
        &mut self,
        sampler: &mut Sampler,
        why: &str,
    ) -> Result<Result<SourceState, NotKnown>, mysql_async::Error> {
        let (now, identity) = sampler.clock().await?;
        Ok(match self.tracker.horizon_of(&identity) {
            Some(horizon) if horizon <= now => Ok(SourceState {
                identity,
                now,
                horizon,
                basis: Basis::Proven,
                settle_seconds: None,
                held_back_by: Some(why.to_owned()),
            }),
            _ => Err(NotKnown::new(why)),
        })
    }

    async fn assume(
        &mut self,
        sampler: &mut Sampler,
        lag: Duration,
    ) -> Result<Result<SourceState, NotKnown>, mysql_async::Error> {
        let (now, identity) = sampler.clock().await?;
        let settle = self.settings.settle + lag;
        let micros = u64::try_from(settle.as_micros()).unwrap_or(u64::MAX);
        let assumed = now.minus_micros(micros);
        let before = self.clock.replace((now, identity.clone()));
        if before.is_some_and(|(then, server)| now < then || server != identity) {
            tracing::warn!("the source's clock went back, or another server answers now");
            self.behind = Some(self.assumed);
        }
        if let Some(until) = self.behind.filter(|until| assumed <= *until) {
            return Ok(Err(behind(until, assumed)));
        }
        self.behind = None;
        self.assumed = self.assumed.max(assumed);
        Ok(Ok(SourceState {
            identity,
            now,
            horizon: self.assumed,
            basis: Basis::Assumed,
            settle_seconds: Some(settle.as_secs_f64()),
            held_back_by: None,
        }))
    }

    async fn look_at_replication(
        &mut self,
        sampler: &mut Sampler,
    ) -> Result<(), mysql_async::Error> {
        let asked = self.asked_replication;
        let replica = !matches!(self.replication, Replication::None | Replication::Unknown);
        if replica || asked.is_none_or(|asked| asked.elapsed() > REPLICATION_INTERVAL) {
            let flavour = sampler.flavour();
            self.replication = replication::look(sampler.connection(), flavour).await?;
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

fn behind(until: Stamp, now: Stamp) -> NotKnown {
    NotKnown {
        detail: format!(
            "the source's clock went back, or another server answers: waiting until it is past {until}"
        ),
        retry_after: Duration::from_secs_f64(until.seconds_since(now).clamp(1.0, 60.0)),
    }
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
