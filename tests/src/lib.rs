//! Runs `dbd-server` and `dbd-puller` between two real databases.
//!
//! A test takes a [`Pair`]: a source and a destination server that nobody else uses meanwhile.
//! It changes the source by SQL, runs the real programs, and compares both databases value by
//! value ([`Pair::assert_same`]). Nothing here sleeps in place of a condition: whatever takes
//! time is polled with a deadline ([`eventually`]).

mod compare;
mod lease;
mod output;
mod pair;
mod programs;
mod proxy;
mod relay;
mod server;
mod side;
pub mod soak;
mod users;
mod wait;
mod way;

pub use lease::Lease;
pub use output::{Output, Pulled, Reconciled};
pub use pair::Pair;
pub use programs::{DbdServer, Puller};
pub use proxy::{At, Exchange, Proxy, Stop};
pub use server::{Flavour, Options, Server, mysql_program};
pub use side::{Busy, Row, Session, Side, quoted};
pub use users::{UsersFile, hash_password, refuses_to_start};
pub use wait::{DEADLINE, eventually, rarely, within};
pub use way::Way;

/// Makes a test for each flavour out of `async fn name(Flavour)`: `name::mysql`, `name::mariadb`.
#[macro_export]
macro_rules! each_flavour {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            #[tokio::test]
            async fn mysql() {
                super::$name($crate::Flavour::MySql).await;
            }
            #[tokio::test]
            async fn mariadb() {
                super::$name($crate::Flavour::MariaDb).await;
            }
        }
    )+ };
}

/// Makes a test for each flavour, the same on both sides, out of `async fn name(Pair)`.
#[macro_export]
macro_rules! same_flavour {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            use $crate::{Flavour, Pair};
            #[tokio::test]
            async fn mysql() {
                super::$name(Pair::start(Flavour::MySql, Flavour::MySql).await).await;
            }
            #[tokio::test]
            async fn mariadb() {
                super::$name(Pair::start(Flavour::MariaDb, Flavour::MariaDb).await).await;
            }
        }
    )+ };
}

/// Makes a test for each of the four directions out of `async fn name(Pair)`.
#[macro_export]
macro_rules! every_direction {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            use $crate::{Flavour, Pair};
            #[tokio::test]
            async fn mysql_to_mysql() {
                super::$name(Pair::start(Flavour::MySql, Flavour::MySql).await).await;
            }
            #[tokio::test]
            async fn mariadb_to_mariadb() {
                super::$name(Pair::start(Flavour::MariaDb, Flavour::MariaDb).await).await;
            }
            #[tokio::test]
            async fn mysql_to_mariadb() {
                super::$name(Pair::start(Flavour::MySql, Flavour::MariaDb).await).await;
            }
            #[tokio::test]
            async fn mariadb_to_mysql() {
                super::$name(Pair::start(Flavour::MariaDb, Flavour::MySql).await).await;
            }
        }
    )+ };
}
