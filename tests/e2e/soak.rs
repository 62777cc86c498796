//! A short bad day with a fixed seed. `cargo run -p dbd-tests --release --bin soak` has longer ones.

use std::time::Duration;

use harness::soak::{Settings, run};
use harness::{Flavour, each_flavour};

each_flavour!(both_sides_are_equal_after_a_bad_day);

/// Both programs, both databases and the network between them fail, in any order and at once. R3, R5, R9,
/// R10 and R12: nothing is lost, nothing is stuck, and no row that stays is ever missing.
async fn both_sides_are_equal_after_a_bad_day(flavour: Flavour) {
    let report = run(&Settings {
        seed: 4,
        // Two rounds: with reconcile, and by the windows alone.
        lasts: Duration::from_secs(20),
        round: Duration::from_secs(12),
        source: flavour,
        dest: flavour,
        debug: false,
        keep: false,
    })
    .await;
    assert!(report.is_clean(), "{report}");
    assert!(report.faults() > 10, "{report}");
}
