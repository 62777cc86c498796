//! What an error of the destination means for the batch that was written; pure.

use mysql_async::Error;

/// Deadlock; lock wait time-out (which undoes only the statement: the batch is rolled back all the
/// same); Galera's conflicts show as deadlocks.
const AGAIN: [u16; 2] = [1213, 1205];

/// Duplicate entry; NULL into a key, which is how the upsert says that it met another row.
const MEETS: [u16; 3] = [1062, 1048, 1586];

/// The server shuts down, or ended this connection or statement; it is read-only by now (1290, 1836), or no
/// working member of its cluster (1047; 1180 where that happens during a COMMIT, which blames no row either).
const LOST: [u16; 9] = [1053, 1077, 1152, 1180, 1317, 1927, 1290, 1836, 1047];

/// Warnings that speak of the statement and not of a value: VALUES() is old (1287), the statement is
/// unsafe for statement-based replication (1592).
pub(crate) const HARMLESS: [u16; 2] = [1287, 1592];

/// What to do after an error.
#[derive(Debug, PartialEq)]
pub(crate) enum Failure {
    /// The same again.
    Again,
    /// The connection is gone, or will be.
    Lost,
    /// The row must change, or the table.
    Refused {
        /// Which row of the statement, from 0, where the server says it.
        row: Option<usize>,
        /// What the server said.
        message: String,
        /// A row of another key may be in the way.
        meets: bool,
    },
}

/// What an error means.
pub(crate) fn failure(error: &Error) -> Failure {
    let Error::Server(error) = error else {
        return Failure::Lost;
    };
    if AGAIN.contains(&error.code) {
        Failure::Again
    } else if LOST.contains(&error.code) {
        Failure::Lost
    } else {
        Failure::Refused {
            row: row_number(&error.message),
            message: error.message.clone(),
            meets: MEETS.contains(&error.code),
        }
    }
}

/// The row that a message names (`… at row 3`), from 0.
pub(crate) fn row_number(message: &str) -> Option<usize> {
    let (_, rest) = message.rsplit_once(" at row ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<usize>().ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_row() {
        for (message, row) in [
            ("Data too long for column 'v' at row 3", Some(2)),
            (
                "Out of range value for column `x`.`t`.`at row 9` at row 12",
                Some(11),
            ),
            ("Column 'id' cannot be null", None),
            ("at row 0", None),
        ] {
            assert_eq!(row_number(message), row, "{message}");
        }
    }

    #[test]
    fn a_cluster_that_is_lost_blames_no_row() {
        for (code, text) in [
            (1047, "WSREP has not yet prepared node for application use"),
            (
                1180,
                "Error while appending streaming replication fragment(provider status: Not \
                 connected to Primary Component)",
            ),
        ] {
            let error = Error::Server(mysql_async::ServerError {
                code,
                message: text.to_owned(),
                state: "HY000".to_owned(),
            });
            assert_eq!(failure(&error), Failure::Lost, "{code}");
        }
    }
}
