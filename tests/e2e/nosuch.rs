//! What does not exist is not found, whatever its name is.

use harness::{Pair, same_flavour};

use crate::{INDEXED, STAMP};

same_flavour!(a_name_that_no_server_can_hold_is_not_found);

async fn a_name_that_no_server_can_hold_is_not_found(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
        ))
        .await;
    pair.serve().await;
    let database = &pair.source.database;
    // An emoji, a NUL, and too many characters.
    for name in ["%F0%9F%98%80", "a%00b", &"a".repeat(65)] {
        for path in [
            format!("/{name}/"),
            format!("/{name}/t/"),
            format!("/{database}/{name}/"),
            format!("/{name}/t/-/keys"),
            format!("/{database}/{name}/-/digests"),
        ] {
            let (status, _, body) = pair.curl(&[], &path).await;
            assert_eq!(status, 404, "{path}: {body}");
        }
        let body = r#"{"tables": [["t", "s", "2014-09-01", null]]}"#;
        let path = format!("/{name}/-/changed");
        let (status, _, body) = pair.curl(&["-d", body], &path).await;
        assert_eq!(status, 404, "{path}: {body}");
    }
}
