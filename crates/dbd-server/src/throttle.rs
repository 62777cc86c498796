//! How guesses of passwords are slowed down, and counted.
//!
//! Failed logins fill three kinds of buckets, which leak: of an address and a user name, of an address, and of a
//! user name. A full one has whoever it is of wait, for longer with each failure, up to [`LONGEST`]; they are told so
//! at once, and what they send meanwhile is not looked at. An address from which a user was let in has for that user
//! only the first kind: so nobody who guesses elsewhere keeps them out.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures of an address and a user name before they have to wait.
const PAIR: u32 = 5;

/// Failures of an address, whatever the names: several people may stand behind one.
const ADDRESS: u32 = 20;

/// Failures of a user name, wherever they come from. One guesser who is slowed down does not fill this.
const NAME: u32 = 100;

/// The first wait; each further failure doubles it.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// How often a failure leaks out of a bucket.
const LEAK: Duration = Duration::from_secs(20);

/// How many failures beyond those that are free count: they make for the longest wait.
const BEYOND: u32 = 6;

/// Buckets of a kind at most, some hundred kilobytes; the one whose last failure is the oldest goes first.
const BUCKETS: usize = 10_000;

/// How long an address counts as one that a user comes from.
const KNOWN: Duration = Duration::from_secs(24 * 3600);

/// Between two lines of the log about failed logins.
const SAY_AGAIN: Duration = Duration::from_secs(1);

/// Characters of a user name that the log shows: it may be anything, of any length.
const SHOWN: usize = 64;

/// Who was wrong how often.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Names are kept as hashes that nobody outside can foresee.
    hashes: RandomState,
    failed: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of an address and a user name, of an address, of a user name.
    kinds: [Buckets; 3],
    /// When a user was last let in from an address.
    known: HashMap<u64, Instant>,
    /// When the log last had a line.
    said: Option<Instant>,
}

type Buckets = HashMap<u64, Bucket>;

/// Failures that have not leaked out yet, at the time of the last one.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: Instant,
}

/// Where a login comes from, and for whom it is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// None where the server does not know.
    pub(crate) address: Option<IpAddr>,
    pub(crate) user: &'a str,
}

impl Throttle {
    /// Logins that failed since the program started.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether the login may be looked at.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(crate) fn look(&self, attempt: Attempt<'_>) -> Result<(), Duration> {
        let now = Instant::now();
        self.lock().wait(&self.keys(attempt), now)
    }

    /// Counts a login as failed before it is looked at, so that many at once get no further than one after the
    /// other; [`Throttle::succeeded`] takes that back.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(crate) fn charge(&self, attempt: Attempt<'_>) -> Result<(), Duration> {
        let (keys, now) = (self.keys(attempt), Instant::now());
        let mut state = self.lock();
        state.wait(&keys, now)?;
        state.charge(&keys, now);
        Ok(())
    }

    /// A login that was charged was right.
    pub(crate) fn succeeded(&self, attempt: Attempt<'_>) {
        let (keys, now) = (self.keys(attempt), Instant::now());
        let mut state = self.lock();
        state.refund(&keys, now);
        // What failed in a row there ends.
        if let [Some(pair), ..] = &keys {
            state.kinds[0].remove(pair);
        }
        state.know(&keys, now);
    }

    /// A login that was remembered was right. What failed there before still counts: behind a proxy whoever guesses has
    /// the address of a program that logs in all the time.
    pub(crate) fn let_in(&self, attempt: Attempt<'_>) {
        let keys = self.keys(attempt);
        self.lock().know(&keys, Instant::now());
    }

    /// A login that was charged was wrong.
    pub(crate) fn failed_login(&self, attempt: Attempt<'_>) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut state = self.lock();
        let is_due = state.said.is_none_or(|said| now - said >= SAY_AGAIN);
        if is_due {
            state.said = Some(now);
        }
        drop(state);
        if is_due {
            let user: String = attempt.user.chars().take(SHOWN).collect();
            let from = attempt
                .address
                .map_or("an unknown address".to_owned(), |ip| ip.to_string());
            tracing::warn!(
                "failed login as {user:?} from {from}; {} since the start",
                self.failed()
            );
        }
    }

    /// What the buckets of an attempt are called; the second of an address is none where that is not known.
    fn keys(&self, Attempt { address, user }: Attempt<'_>) -> [Option<u64>; 3] {
        let network = address.map(network);
        [
            Some(self.hashes.hash_one((network, user))),
            network.map(|network| self.hashes.hash_one(network)),
            Some(self.hashes.hash_one(user)),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is half done is a bucket too many or too few.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has one address of IPv6 has a network of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

impl State {
    /// The buckets that count for an attempt: which kind, and their names.
    fn counted(&self, keys: &[Option<u64>; 3], now: Instant) -> Vec<(usize, u64)> {
        let pair = keys[0].and_then(|pair| self.known.get(&pair));
        let is_known = pair.is_some_and(|at| now.saturating_duration_since(*at) < KNOWN);
        let kinds = keys.iter().enumerate().take(if is_known { 1 } else { 3 });
        kinds
            .filter_map(|(kind, key)| Some((kind, (*key)?)))
            .collect()
    }

    fn wait(&self, keys: &[Option<u64>; 3], now: Instant) -> Result<(), Duration> {
        let counted = self.counted(keys, now).into_iter();
        let waits = counted.filter_map(|(kind, key)| {
            let bucket = self.kinds[kind].get(&key)?;
            let until = bucket.at + pause(bucket.level, FREE[kind]);
            until
                .checked_duration_since(now)
                .filter(|wait| !wait.is_zero())
        });
        waits.max().map_or(Ok(()), Err)
    }

    fn charge(&mut self, keys: &[Option<u64>; 3], now: Instant) {
        for (kind, key) in self.counted(keys, now) {
            let buckets = &mut self.kinds[kind];
            if buckets.len() >= BUCKETS && !buckets.contains_key(&key) {
                forget_oldest(buckets, |bucket| bucket.at);
            }
            let bucket = buckets.entry(key).or_insert(Bucket {
                level: 0.0,
                at: now,
            });
            let level = bucket.level_at(now) + 1.0;
            *bucket = Bucket {
                level: level.min(f64::from(FREE[kind] + BEYOND)),
                at: now,
            };
        }
    }

    fn refund(&mut self, keys: &[Option<u64>; 3], now: Instant) {
        for (kind, key) in self.counted(keys, now) {
            if let Some(bucket) = self.kinds[kind].get_mut(&key) {
                bucket.level = (bucket.level - 1.0).max(0.0);
            }
        }
    }

    /// A user was let in from an address.
    fn know(&mut self, keys: &[Option<u64>; 3], now: Instant) {
        let [Some(pair), address, _] = keys else {
            return;
        };
        // Nobody who comes from nowhere is told from others who do.
        if address.is_none() {
            return;
        }
        if self.known.len() >= BUCKETS && !self.known.contains_key(pair) {
            forget_oldest(&mut self.known, |at| *at);
        }
        self.known.insert(*pair, now);
    }
}

/// What is free of each kind.
const FREE: [u32; 3] = [PAIR, ADDRESS, NAME];

impl Bucket {
    fn level_at(&self, now: Instant) -> f64 {
        let leaked = now.saturating_duration_since(self.at).as_secs_f64() / LEAK.as_secs_f64();
        (self.level - leaked).max(0.0)
    }
}

/// How long a bucket of that level has to be waited for.
fn pause(level: f64, free: u32) -> Duration {
    // Of failures one right after the other next to nothing leaks.
    let beyond = level.round() - f64::from(free);
    if beyond < 0.0 {
        return Duration::ZERO;
    }
    SHORTEST.mul_f64(beyond.exp2()).min(LONGEST)
}

fn forget_oldest<T>(all: &mut HashMap<u64, T>, at: impl Fn(&T) -> Instant) {
    let oldest = all.iter().min_by_key(|(_, entry)| at(entry));
    if let Some(key) = oldest.map(|(key, _)| *key) {
        all.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt<'a>(address: &str, user: &'a str) -> Attempt<'a> {
        Attempt {
            address: Some(address.parse().unwrap()),
            user,
        }
    }

    /// How long the next one waits after so many failures, each as soon as it may be.
    fn wait_after(failures: u32, free: u32) -> Duration {
        let mut bucket = Bucket {
            level: 0.0,
            at: Instant::now(),
        };
        for _ in 0..failures {
            let now = bucket.at + pause(bucket.level, free);
            bucket = Bucket {
                level: bucket.level_at(now) + 1.0,
                at: now,
            };
        }
        pause(bucket.level, free)
    }

    #[test]
    fn each_failure_makes_the_wait_longer() {
        for (failures, seconds) in [(0, 0), (4, 0), (5, 1), (6, 2), (7, 4), (8, 8)] {
            assert_eq!(wait_after(failures, PAIR).as_secs(), seconds, "{failures}");
        }
        for failures in 10..200 {
            let wait = wait_after(failures, PAIR);
            assert!(
                wait >= Duration::from_secs(8) && wait <= LONGEST,
                "{failures}: {wait:?}"
            );
        }
    }

    #[test]
    fn one_guesser_never_fills_the_bucket_of_a_name() {
        let begin = Instant::now();
        let mut bucket = Bucket {
            level: 0.0,
            at: begin,
        };
        let (mut now, mut pair) = (begin, bucket);
        for _ in 0..10_000 {
            now += pause(pair.level, PAIR);
            let count = |bucket: Bucket| Bucket {
                level: bucket.level_at(now) + 1.0,
                at: now,
            };
            (pair, bucket) = (count(pair), count(bucket));
            assert_eq!(pause(bucket.level, NAME), Duration::ZERO);
        }
    }

    #[test]
    fn many_names_from_one_network_wait_too_but_for_who_is_known_there() {
        let throttle = Throttle::default();
        throttle.charge(attempt("2001:db8::1", "ann")).unwrap();
        throttle.succeeded(attempt("2001:db8::1", "ann"));
        for n in 0..ADDRESS {
            let address = format!("2001:db8::{n:x}:1");
            throttle
                .charge(attempt(&address, &format!("user {n}")))
                .unwrap();
        }
        assert!(throttle.look(attempt("2001:db8::2", "bob")).is_err());
        assert!(throttle.look(attempt("2001:db8:0:1::2", "bob")).is_ok());
        assert!(throttle.look(attempt("2001:db8::3", "ann")).is_ok());
    }

    #[test]
    fn many_guessers_keep_nobody_out_of_an_address_that_is_known() {
        let throttle = Throttle::default();
        throttle.let_in(attempt("192.0.2.1", "ann"));
        for n in 0..NAME {
            throttle
                .charge(attempt(&format!("198.51.100.{n}"), "ann"))
                .unwrap();
        }
        assert!(throttle.look(attempt("192.0.2.2", "ann")).is_err());
        assert!(throttle.look(attempt("192.0.2.1", "ann")).is_ok());
        assert!(throttle.look(attempt("192.0.2.2", "bob")).is_ok());
    }

    #[test]
    fn a_right_login_ends_the_row_and_takes_back_what_it_was_charged() {
        let throttle = Throttle::default();
        for _ in 0..3 {
            for _ in 1..PAIR {
                throttle.charge(attempt("192.0.2.1", "ann")).unwrap();
            }
            throttle.charge(attempt("192.0.2.1", "ann")).unwrap();
            throttle.succeeded(attempt("192.0.2.1", "ann"));
        }
        // Nobody is known for logging in often from an address that others guess from.
        let throttle = Throttle::default();
        for n in 1..ADDRESS {
            throttle
                .charge(attempt("192.0.2.1", &n.to_string()))
                .unwrap();
            throttle.charge(attempt("192.0.2.1", "ann")).unwrap();
            throttle.succeeded(attempt("192.0.2.1", "ann"));
        }
        throttle.charge(attempt("192.0.2.1", "last")).unwrap();
        assert!(throttle.look(attempt("192.0.2.1", "bob")).is_err());
    }

    /// Behind a proxy a guesser has the address of a program that logs in all the time.
    #[test]
    fn a_remembered_login_ends_no_row_of_guesses() {
        let throttle = Throttle::default();
        let both = attempt("192.0.2.1", "ann");
        for guess in 0..PAIR {
            assert_eq!(throttle.look(both), Ok(()), "{guess}");
            assert_eq!(throttle.charge(both), Ok(()), "{guess}");
            throttle.failed_login(both);
            throttle.let_in(both);
        }
        assert!(throttle.look(both).is_err());
    }

    #[test]
    fn the_table_of_offenders_is_bounded() {
        let mut state = State::default();
        let begin = Instant::now();
        for n in 0..BUCKETS as u64 + 10 {
            let now = begin + Duration::from_micros(n);
            state.charge(&[Some(n), Some(n), Some(n)], now);
            let other = 1 << 40 | n;
            state.know(&[Some(other), Some(n), Some(n)], now);
        }
        assert!(state.kinds.iter().all(|buckets| buckets.len() <= BUCKETS));
        assert_eq!(state.known.len(), BUCKETS);
        assert!(!state.kinds[1].contains_key(&0) && state.kinds[1].contains_key(&100));
    }
}
