//! Time zones: what the servers take for local time never matters.

use harness::{Flavour, Options, Pair};

/// Central European and Eastern time as POSIX writes them: no zone tables are needed.
const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
const NEW_YORK: &str = "EST5EDT,M3.2.0,M11.1.0";

#[tokio::test]
async fn a_change_of_the_clocks_loses_nothing_from_mysql_to_mariadb() {
    a_change_of_the_clocks_loses_nothing(Flavour::MySql, Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_change_of_the_clocks_loses_nothing_from_mariadb_to_mysql() {
    a_change_of_the_clocks_loses_nothing(Flavour::MariaDb, Flavour::MySql).await;
}

/// R3, R7. Between 00:00 and 02:00 UTC that October morning each local time exists twice: in local
/// time the second half would lie at or behind the position.
async fn a_change_of_the_clocks_loses_nothing(source: Flavour, dest: Flavour) {
    let zone = |name: &str| Options {
        time_zone: Some(name.to_owned()),
        ..Options::default()
    };
    let mut pair = Pair::with((source, &zone(BERLIN)), (dest, &zone(NEW_YORK))).await;
    for side in [&pair.source, &pair.dest] {
        let offset = side
            .one("SELECT TIMESTAMPDIFF(HOUR, CONVERT_TZ('2024-07-01 00:00:00','SYSTEM','+00:00'), '2024-07-01')")
            .await;
        let wanted = if side.flavour() == source { "2" } else { "-4" };
        assert_eq!(offset, wanted, "the server is in the zone this test needs");
    }
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, d DATETIME(3), other TIMESTAMP NULL,
         s TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY (s))",
    )
    .await;
    let mornings = [
        ("2024-03-10", 5..9),
        ("2024-03-31", 0..4),
        ("2024-10-27", 0..4),
        ("2024-11-03", 4..8),
    ];
    let mut id = 0;
    for (day, hours) in mornings {
        for hour in hours {
            for minute in ["00:00", "30:00", "59:59"] {
                id += 1;
                pair.source
                    .run(format!(
                        "INSERT INTO t VALUES ({id}, 0, '{day} {hour:02}:{minute}.123', \
                         '{day} {hour:02}:{minute}', '{day} {hour:02}:{minute}')"
                    ))
                    .await;
            }
            // Each pull goes on from the position of the one before.
            let output = pair.pull(&["--wait=0"]).await.ok();
            assert_eq!(output.rows("t"), 3, "{day} {hour}");
        }
    }
    pair.assert_same().await;
    // A writer in the server's own zone.
    pair.source.run("SET time_zone=SYSTEM").await;
    pair.source.run("UPDATE t SET v=1 WHERE id=1").await;
    pair.source.run("SET time_zone='+00:00'").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}
