//! The rule by which samples of the source become a horizon; pure.
//!
//! R1. Every row version stamped below the horizon that will ever be committed is visible to a
//!     read that starts after the horizon was worked out.
//!
//! A sample looks at the clock, then at the running statements, then at the transactions. A
//! statement that starts later is stamped at or after that look at the clock. One that started
//! before and still runs holds the horizon back to its start. One that started before and has
//! ended has left either a commit, which every later read sees, or a transaction that has written
//! ("dirty"). A dirty transaction holds the horizon back to the earliest time at which it can have
//! stamped, worked out when it is first seen: its connection's statement of the sample before, or
//! else the time of that sample.

use std::collections::{HashMap, HashSet};

use common::stamp::Stamp;

/// One look at the source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// The source's time, taken before everything else.
    pub(crate) now: Stamp,
    /// The running statements that may write.
    pub(crate) statements: Vec<Statement>,
    /// The transactions that have written.
    pub(crate) dirty: Vec<Transaction>,
}

/// A running statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Statement {
    pub(crate) connection: u64,
    /// A time not after its start.
    pub(crate) started: Stamp,
}

/// A transaction that has changed rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Transaction {
    pub(crate) id: u64,
    /// Its connection; 0 where it has none (prepared XA, recovered after a crash).
    pub(crate) connection: u64,
}

/// What a sample made of the horizon.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It is known.
    Known {
        /// The horizon.
        horizon: Stamp,
        /// What holds it back, if anything does.
        holder: Option<Holder>,
    },
    /// Transactions that had written before the first sample must end first.
    Waiting(Vec<Transaction>),
}

/// What holds the horizon back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Holder {
    /// A statement that runs.
    Statement(Statement),
    /// A transaction that has written, since about that time.
    Transaction(Transaction, Stamp),
}

/// What is remembered from sample to sample.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    previous: Option<Sample>,
    horizon: Option<Stamp>,
    /// For each dirty transaction, the earliest time at which it can have stamped.
    bounds: HashMap<u64, Stamp>,
    /// The dirty transactions for which no such time is known.
    unbounded: HashSet<u64>,
}

impl Tracker {
    /// Takes one more sample.
    pub(crate) fn take(&mut self, sample: Sample) -> Verdict {
        self.bound(&sample);
        let verdict = self.verdict(&sample);
        self.previous = Some(sample);
        verdict
    }

    /// The horizon that was last known.
    pub(crate) fn horizon(&self) -> Option<Stamp> {
        self.horizon
    }

    /// The earliest time at which a transaction that is open now can have stamped; none when none has written.
    pub(crate) fn oldest_transaction(&self) -> Option<Stamp> {
        self.bounds.values().min().copied()
    }

    /// Finds the bounds of the dirty transactions that are new, and forgets those that ended.
    fn bound(&mut self, sample: &Sample) {
        let alive: HashSet<u64> = sample.dirty.iter().map(|dirty| dirty.id).collect();
        self.bounds.retain(|id, _| alive.contains(id));
        self.unbounded.retain(|id| alive.contains(id));
        for dirty in &sample.dirty {
            if self.bounds.contains_key(&dirty.id) || self.unbounded.contains(&dirty.id) {
                continue;
            }
            let bound = match &self.previous {
                Some(previous) if dirty.connection != 0 => Some(first_stamp(previous, dirty)),
                // It came between two samples and left its connection already: nothing it wrote
                // can lie below the horizon of the sample before.
                _ => self.horizon,
            };
            match bound {
                Some(bound) => {
                    self.bounds.insert(dirty.id, bound);
                }
                None => {
                    self.unbounded.insert(dirty.id);
                }
            }
        }
    }

    fn verdict(&mut self, sample: &Sample) -> Verdict {
        if !self.unbounded.is_empty() {
            let waiting = sample.dirty.iter().copied();
            return Verdict::Waiting(
                waiting
                    .filter(|dirty| self.unbounded.contains(&dirty.id))
                    .collect(),
            );
        }
        let statements = sample
            .statements
            .iter()
            .map(|statement| (statement.started, Holder::Statement(*statement)));
        let dirty = sample.dirty.iter().filter_map(|dirty| {
            let bound = *self.bounds.get(&dirty.id)?;
            Some((bound, Holder::Transaction(*dirty, bound)))
        });
        let least = statements.chain(dirty).min_by_key(|(time, _)| *time);
        let (horizon, holder) = match least {
            Some((time, holder)) if time < sample.now => (time, Some(holder)),
            _ => (sample.now, None),
        };
        let horizon = horizon.max(self.horizon.unwrap_or_default());
        self.horizon = Some(horizon);
        Verdict::Known { horizon, holder }
    }
}

/// The earliest time at which a transaction can have stamped that was not dirty at `previous`.
fn first_stamp(previous: &Sample, dirty: &Transaction) -> Stamp {
    let was_dirty = previous
        .dirty
        .iter()
        .any(|before| before.connection == dirty.connection);
    let running = previous
        .statements
        .iter()
        .find(|statement| statement.connection == dirty.connection);
    match running {
        Some(statement) if !was_dirty => statement.started.min(previous.now),
        _ => previous.now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Stamp {
        Stamp::from_micros(seconds * 1_000_000)
    }

    fn sample(now: u64, statements: &[(u64, u64)], dirty: &[(u64, u64)]) -> Sample {
        Sample {
            now: at(now),
            statements: statements
                .iter()
                .map(|&(connection, started)| Statement {
                    connection,
                    started: at(started),
                })
                .collect(),
            dirty: dirty
                .iter()
                .map(|&(id, connection)| Transaction { id, connection })
                .collect(),
        }
    }

    /// The horizons of a row of samples, in seconds; none where it is not known.
    fn horizons(samples: Vec<Sample>) -> Vec<Option<u64>> {
        let mut tracker = Tracker::default();
        let verdicts = samples.into_iter().map(|sample| tracker.take(sample));
        verdicts
            .map(|verdict| match verdict {
                Verdict::Known { horizon, .. } => Some(horizon.micros() / 1_000_000),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn r1_the_horizon_is_held_back_by_what_can_still_appear() {
        for (name, samples, expected) in [
            (
                "nothing runs",
                vec![sample(100, &[], &[]), sample(101, &[], &[])],
                vec![Some(100), Some(101)],
            ),
            (
                "a statement runs, and ends",
                vec![
                    sample(100, &[(7, 95)], &[]),
                    sample(101, &[(7, 95)], &[]),
                    sample(102, &[], &[]),
                ],
                vec![Some(95), Some(95), Some(102)],
            ),
            (
                "a transaction that was written by a statement no sample saw",
                vec![
                    sample(100, &[], &[]),
                    sample(101, &[], &[(1, 7)]),
                    sample(102, &[], &[(1, 7)]),
                    sample(103, &[], &[]),
                ],
                vec![Some(100), Some(100), Some(100), Some(103)],
            ),
            (
                "a statement that waited long before it wrote, as its connection idles",
                vec![
                    sample(100, &[], &[]),
                    sample(104, &[(7, 101)], &[]),
                    sample(105, &[], &[(1, 7)]),
                ],
                vec![Some(100), Some(101), Some(101)],
            ),
            (
                "a second transaction of a connection whose first one was dirty",
                vec![
                    sample(100, &[], &[]),
                    sample(101, &[(7, 90)], &[(1, 7)]),
                    sample(102, &[], &[(2, 7)]),
                ],
                vec![Some(100), Some(100), Some(101)],
            ),
            (
                "transactions that had written before the start",
                vec![
                    sample(100, &[], &[(1, 7)]),
                    sample(101, &[], &[(1, 7), (2, 8)]),
                    sample(102, &[], &[(2, 8)]),
                    sample(103, &[], &[]),
                ],
                vec![None, None, Some(100), Some(103)],
            ),
            (
                "a prepared transaction without a connection",
                vec![
                    sample(100, &[], &[]),
                    sample(101, &[], &[(1, 0)]),
                    sample(150, &[], &[(1, 0)]),
                ],
                vec![Some(100), Some(100), Some(100)],
            ),
            (
                "a transaction that detaches keeps its bound",
                vec![
                    sample(100, &[], &[]),
                    sample(101, &[], &[(1, 7)]),
                    sample(102, &[(9, 102)], &[(1, 0)]),
                ],
                vec![Some(100), Some(100), Some(100)],
            ),
            (
                "a start that is guessed too early never takes the horizon back",
                vec![sample(100, &[], &[]), sample(101, &[(7, 50)], &[])],
                vec![Some(100), Some(100)],
            ),
        ] {
            assert_eq!(horizons(samples), expected, "{name}");
        }
    }
}
