//! Both programs between two real databases: one file for each promise.
#![expect(clippy::unwrap_used, reason = "a test that unwraps in vain has failed")]

mod harness_itself;
