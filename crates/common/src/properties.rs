//! What holds for any value, not only for those of the examples. `PROPTEST_CASES` says how many are
//! tried.

mod any;
mod digests;
mod frames;
mod scans;
mod values;
