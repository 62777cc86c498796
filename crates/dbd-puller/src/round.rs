//! One pull of all tables.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use common::frame::{Basis, SourceState};
use common::ident::Ident;
use tokio::time::Instant;

use crate::args::Args;
use crate::choose::{Chosen, choose};
use crate::client::{Client, Listing};
use crate::destination::Destination;
use crate::error::PullError;
use crate::hosts::Hosts;
use crate::known::Known;
use crate::look::Unchanged;
use crate::pass::Pass;
use crate::plan::Plan;
use crate::pull::{Order, Pulled, Start, pull};
use crate::report::{behind, report};
use crate::status::{Came, Progress, Status};

/// How long a single pull waits for changes that were committed just before it.
const WAIT: Duration = Duration::from_secs(10);

/// Between two questions to a server that has no horizon yet.
const RETRY: Duration = Duration::from_millis(500);

/// With an assumed horizon: so much longer than the server's --settle.
const BEYOND_SETTLE: Duration = Duration::from_secs(2);

/// The puller, and what it knows from one pull to the next. All of it can be found again.
pub(crate) struct Puller {
    pub(crate) args: Args,
    pub(crate) client: Client,
    pub(crate) hosts: Hosts,
    pub(crate) destination: Option<Destination>,
    /// The server that was pulled from.
    identity: Option<String>,
    pub(crate) tables: HashMap<Ident, Known>,
    pub(crate) pass: Pass,
    /// The list of tables of the last pull.
    pub(crate) listing: Option<Listing>,
    /// What was said already.
    said: HashSet<String>,
    /// For whoever asks how it is.
    pub(crate) status: Status,
}

impl Puller {
    pub(crate) fn new(args: Args) -> Result<Self, PullError> {
        let credentials = match &args.source_username {
            Some(username) => Some((username.clone(), args.source_secret()?)),
            None => None,
        };
        Ok(Self {
            client: Client::new(
                &args.source_host,
                args.source_port,
                credentials,
                &args.source_tls,
                args.source_timeout,
            )?,
            hosts: Hosts::new(args.destinations()?),
            args,
            destination: None,
            identity: None,
            tables: HashMap::new(),
            pass: Pass::default(),
            listing: None,
            said: HashSet::new(),
            status: Status::default(),
        })
    }

    /// Pulls every table once.
    pub(crate) async fn round(&mut self) -> Result<(), PullError> {
        let began = Instant::now();
        self.status.begins();
        let result = self.try_round().await;
        self.status.ends(began, &result);
        result
    }

    async fn try_round(&mut self) -> Result<(), PullError> {
        let mut destination = self.connected().await?;
        self.status.writes_to(|| self.hosts.current());
        let lost = destination.lost();
        let result = tokio::select! {
            result = self.round_with(&mut destination) => result,
            error = lost => {
                // Whichever table it had come to was left in the middle.
                self.pass.of_another_destination();
                Err(error)
            }
        };
        // A connection that failed may hold the answer to an earlier statement.
        if !matches!(
            result,
            Err(PullError::Destination { .. } | PullError::LockLost { .. })
        ) {
            self.destination = Some(destination);
        }
        result
    }

    async fn round_with(&mut self, destination: &mut Destination) -> Result<(), PullError> {
        let until = self.args.poll_interval.map(|poll| Instant::now() + poll);
        self.client.rows_are_for(destination.max_packet);
        let (listing, unchanged) = match self.as_before().await? {
            Some((listing, unchanged)) => (listing, Some(unchanged)),
            None => (self.listing().await?, None),
        };
        self.begin(&listing);
        let result = self.all(&listing, unchanged, until, destination).await;
        if result.is_ok() && listing.version.is_some() && self.args.poll_interval.is_some() {
            self.listing = Some(listing);
        }
        result
    }

    async fn all(
        &mut self,
        listing: &Listing,
        unchanged: Option<Unchanged>,
        until: Option<Instant>,
        destination: &mut Destination,
    ) -> Result<(), PullError> {
        let chosen = choose(&self.args, listing)?;
        let all = chosen.len();
        self.status.chosen(chosen.iter().map(|chosen| &chosen.name));
        if all == 0 {
            self.say("the source lists no table to pull".to_owned());
        }
        let unchanged = match unchanged {
            Some(unchanged) => unchanged,
            None => self.unchanged(listing, &chosen, destination).await?,
        };
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        let (mut rows, mut tables) = (0, 0);
        let mut passed = 0;
        for chosen in &chosen {
            if let Some(source) = unchanged.of(&chosen.name) {
                self.pass_over(&chosen.name, source);
                done.push(chosen.name.clone());
                passed += 1;
                continue;
            }
            if self.tables.get(&chosen.name).is_some_and(Known::pauses) {
                failed.push(chosen.name.clone());
                continue;
            }
            self.status.works_on(&chosen.name);
            let result = if self.args.only_compares() {
                let differing = self.verify(listing, chosen, destination).await;
                differing.map(|differing| {
                    rows += differing;
                    tables += usize::from(differing > 0);
                    0
                })
            } else {
                self.table(listing, chosen, destination).await
            };
            let known = self.tables.entry(chosen.name.clone()).or_default();
            let came = Came::of(&result);
            match result {
                Ok(0) => {
                    known.failed = None;
                    done.push(chosen.name.clone());
                }
                Ok(refused) => {
                    known.pull_left_out(&left_out(&chosen.name, refused));
                    failed.push(chosen.name.clone());
                }
                Err(error) if error.is_of_one_table() => {
                    known.pull_failed(&error, self.args.poll_interval);
                    failed.push(chosen.name.clone());
                }
                Err(error) => return Err(error),
            }
            self.status.table(&chosen.name, known, came);
        }
        if passed > 0
            && self.args.poll_interval.is_some()
            && let Some(source) = &unchanged.source
        {
            tracing::info!(
                tables = passed,
                horizon = %source.horizon,
                basis = %source.basis,
                behind = behind(source),
                "unchanged"
            );
        }
        if self.args.reconciles() && !self.args.dry_run {
            let pass = self.pass(listing, &chosen, &done, until, destination);
            failed.extend(pass.await?);
        }
        if !failed.is_empty() {
            let names: Vec<String> = failed.iter().map(Ident::to_string).collect();
            return Err(PullError::Incomplete {
                failed: failed.len(),
                all,
                names: names.join(", "),
            });
        }
        match rows {
            0 => Ok(()),
            rows => Err(PullError::Differs { rows, tables }),
        }
    }

    /// The source's tables. A single pull waits as long for a horizon as it waits for changes: a
    /// server that was just started has none yet.
    async fn listing(&self) -> Result<Listing, PullError> {
        let until = Instant::now() + self.args.wait.unwrap_or(WAIT);
        loop {
            let listing = self
                .client
                .tables(&self.args.source_database, self.args.create_tables)
                .await;
            match listing {
                Err(PullError::Refusal {
                    status: 503,
                    detail,
                }) if self.args.poll_interval.is_none() && Instant::now() + RETRY < until => {
                    tracing::debug!(detail, "asking again");
                    tokio::time::sleep(RETRY).await;
                }
                listing => return listing,
            }
        }
    }

    /// Takes note of which server answers, and says what the user should know.
    fn begin(&mut self, listing: &Listing) {
        let source = &listing.source;
        self.status.source(source);
        if let Some(identity) = &self.identity
            && *identity != source.identity
        {
            tracing::warn!("another server answers as the source now: positions are checked anew");
            if self.args.reconciles() {
                self.pass.of_another_server();
            } else {
                tracing::warn!(
                    "what the former server had and this one has not stays at the destination; see \
                     with --verify stamps, and mend it with --repair"
                );
            }
            for known in self.tables.values_mut() {
                known.horizon = None;
                known.checked = false;
            }
        }
        self.identity = Some(source.identity.clone());
        if source.basis == Basis::Assumed {
            self.say(format!(
                "the source's horizon is assumed, {:.0} s behind its clock, not proven: changes of \
                 longer transactions may be missed; see the dbd-server's log",
                source.settle_seconds.unwrap_or_default()
            ));
        }
        if !self.args.reconciles() && !self.args.only_compares() {
            self.say("deletes at the source are not propagated without --sync-deletes".to_owned());
        }
    }

    /// Takes note that a table has nothing new.
    fn pass_over(&mut self, name: &Ident, source: &SourceState) {
        let known = self.tables.entry(name.clone()).or_default();
        let precision = known.plan.as_ref().map_or(0, |(_, plan)| plan.precision);
        let horizon = source.horizon.floor(precision);
        known.nothing_new(horizon);
        self.status.table(name, known, Came::ToItsEnd);
        if self.args.poll_interval.is_some() {
            tracing::debug!(
                target: "dbd_puller::look",
                table = name.as_str(),
                %horizon,
                basis = %source.basis,
                "unchanged"
            );
            return;
        }
        let pulled = Pulled {
            rows: 0,
            bytes: 0,
            seconds: 0.0,
            source: SourceState {
                horizon,
                ..source.clone()
            },
            more_above_horizon: false,
            rows_in_future: false,
            refused: 0,
        };
        report(name, &pulled, true);
    }

    /// Pulls a table; answers how many rows the destination refused, which were left out.
    async fn table(
        &mut self,
        listing: &Listing,
        chosen: &Chosen<'_>,
        destination: &mut Destination,
    ) -> Result<u64, PullError> {
        let listed = chosen.listed()?;
        let plan = self.plan(listing, listed, chosen, destination).await?;
        let wait = self.wait(listing);
        let mut order = order(&self.client, &self.args, listing, plan);
        order.wait = wait;
        order.progress = self.status.progress(&chosen.name);
        let known = self.tables.entry(chosen.name.clone()).or_default();
        let resync = known.resync_is_due(&self.args);
        let is_checked = known.checked && !resync;
        let shape = known.plan.as_ref().map(|(shape, _)| shape.clone());
        let reached = known.reached.take();
        let reached = reached.filter(|(of, _)| is_checked && Some(of) == shape.as_ref());
        let mut reached = reached.map(|(_, position)| position);
        let start = match (known.horizon, &reached) {
            (Some(_), Some(reached)) if is_checked => Start::Behind(reached.clone()),
            (Some(horizon), None) if is_checked => Start::Horizon(horizon),
            (horizon, _) => match (order.position(destination).await?, horizon) {
                (Start::Behind(position), _) if resync => {
                    order.held = Some(position);
                    Start::Beginning
                }
                // R12: never above the horizon of the last pull of this process.
                (Start::Behind(position), Some(horizon)) if position.stamp >= horizon => {
                    Start::Horizon(horizon)
                }
                (start, _) => start,
            },
        };
        tracing::debug!(table = chosen.name.as_str(), ?start, "pulling");
        let displaced = &mut known.displaced;
        let pulled = pull(&order, destination, displaced, &start, &mut reached).await;
        if let Err(
            PullError::CutShort { .. } | PullError::Unreachable { .. } | PullError::Silent { .. },
        ) = pulled
        {
            known.reached = shape.zip(reached);
        }
        let pulled = pulled?;
        known.horizon = known.horizon.max(Some(pulled.source.horizon));
        known.checked = true;
        known.totals.pulled += pulled.rows;
        if resync {
            known.resynced = Some(Instant::now());
        }
        report(&chosen.name, &pulled, self.args.poll_interval.is_none());
        Ok(pulled.refused)
    }

    /// R11.
    fn wait(&self, listing: &Listing) -> Duration {
        if self.args.poll_interval.is_some() {
            return Duration::ZERO;
        }
        self.args.wait.unwrap_or_else(|| {
            let settle = listing.source.settle_seconds.unwrap_or_default();
            match listing.source.basis {
                Basis::Proven => WAIT,
                Basis::Assumed => Duration::from_secs_f64(settle.max(0.0)) + BEYOND_SETTLE,
            }
        })
    }

    pub(crate) fn say(&mut self, message: String) {
        if !self.said.contains(&message) {
            tracing::warn!("{message}");
            self.said.insert(message);
        }
    }
}

/// What is asked of a table in a pull that began with this listing.
pub(crate) fn order<'a>(
    client: &'a Client,
    args: &'a Args,
    listing: &'a Listing,
    plan: Arc<Plan>,
) -> Order<'a> {
    Order {
        client,
        database: &args.source_database,
        plan,
        begun: &listing.source,
        wait: Duration::ZERO,
        ignore_refusals: args.ignore_database_errors,
        held: None,
        progress: Progress::default(),
        due: None,
    }
}

fn left_out(name: &Ident, rows: u64) -> PullError {
    PullError::Table {
        table: name.clone(),
        reason: format!(
            "{rows} rows were left out, which the destination refused; mend what the lines above \
             name, then pull with --force-resync"
        ),
    }
}
