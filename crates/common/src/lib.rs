//! The contract between `dbd-server` and `dbd-puller`.
//!
//! A source row becomes a frame, the frame a line of an HTTP answer, the line a row of the
//! destination. What both ends must agree on stands here: names, the shape of a table, how each
//! kind of value is read, sent and written, the order of rows, and how both connect to a
//! database. Everything that only one side needs lives there.

pub mod catalog;
pub mod digest;
pub mod frame;
pub mod ident;
pub mod kind;
pub mod logs;
pub mod process;
#[cfg(test)]
mod properties;
pub mod scan;
pub mod session;
#[cfg(test)]
mod sql_reader;
pub mod stamp;
pub mod table;
pub mod tls;
pub mod wire;
