//! Bad days, on purpose: writers change the source while everything between them and the destination
//! is killed, cut, delayed and silenced. Then it is calm, and both sides are equal soon.
//!
//! A seed decides what goes wrong and when, and what the writers do. It does not decide what a kill
//! meets: that is up to the machine, so the same seed finds what it found before, mostly.

mod failure;
mod plan;
mod processes;
mod random;
mod relay;
mod report;
mod round;
mod sentinel;
mod tables;
mod workload;
mod writer;

use std::time::Duration;

pub use report::Report;

use crate::pair::Pair;
use crate::server::{Flavour, Options};
use crate::soak::random::Random;
use crate::soak::report::Log;
use crate::soak::round::{Kind, Soak};

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Decides everything that is not up to the machine.
    pub seed: u64,
    /// How long the rounds' faults last, all in all.
    pub lasts: Duration,
    /// How long a round's faults last.
    pub round: Duration,
    /// Whose server the source is.
    pub source: Flavour,
    /// Whose server the destination is.
    pub dest: Flavour,
    /// Both programs log more.
    pub debug: bool,
    /// What everybody said is kept even when nothing was wrong.
    pub keep: bool,
}

/// Streams of a seed.
const OF_SETTINGS: u64 = 0;
const OF_ROUNDS: u64 = 1_000;

/// Soaks for as long as the settings say, or until something is wrong.
///
/// # Panics
/// When a database or a program cannot be started.
pub async fn run(settings: &Settings) -> Report {
    let log = Log::new();
    log.say(&format!("{settings:?}"));
    let mut random = Random::new(settings.seed, OF_SETTINGS);
    let source = Options {
        // What a writer was told is committed stays at the source, or there would be nothing to compare with.
        flags: vec!["--innodb-flush-log-at-trx-commit=1".to_owned()],
        ..Options::default()
    };
    // A destination that forgets its last second is brought up to date all the same (R12).
    let flush = random.one_of(&["0", "2"]);
    log.say(&format!(
        "innodb_flush_log_at_trx_commit={flush} at the destination"
    ));
    let dest = Options {
        flags: vec![format!("--innodb-flush-log-at-trx-commit={flush}")],
        ..Options::default()
    };
    let pair = Pair::with((settings.source, &source), (settings.dest, &dest)).await;
    tables::make(&pair).await;
    let mut soak = Soak::start(pair, *settings, log).await;
    let mut number = 0_u64;
    loop {
        let random = Random::new(settings.seed, OF_ROUNDS + number);
        // A reconcile would mend what the windows lost: every second round is without.
        let kind = match number % 2 {
            0 => Kind::Reconciling,
            _ => Kind::WindowsAlone,
        };
        let well = soak.round(number, random, kind).await;
        number += 1;
        let done = settings
            .round
            .saturating_mul(number.try_into().unwrap_or(u32::MAX));
        if !well || done >= settings.lasts {
            break;
        }
    }
    soak.finish().await
}
