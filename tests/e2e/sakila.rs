//! A well-known schema, whole.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::{Flavour, Pair, mysql_program};

#[tokio::test]
async fn sakila_arrives_from_mysql_at_mysql() {
    sakila_arrives(Flavour::MySql).await;
}

#[tokio::test]
async fn sakila_arrives_from_mysql_at_mariadb() {
    sakila_arrives(Flavour::MariaDb).await;
}

/// Where its files are: `DBD_SAKILA`, or beside the project.
fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/sakila");
    let folder = std::env::var_os("DBD_SAKILA").map_or(beside, PathBuf::from);
    ["schema.sql", "data.sql"]
        .iter()
        .all(|file| folder.join(file).exists())
        .then_some(folder)
}

/// Tables with foreign keys in a ring, triggers, geometry, SET, ENUM and BLOB columns.
async fn sakila_arrives(dest: Flavour) {
    let Some(folder) = folder() else {
        println!("skipped: there is no Sakila; name its folder in DBD_SAKILA");
        return;
    };
    let mut pair = Pair::named(Flavour::MySql, dest, "sakila").await;
    for file in ["schema.sql", "data.sql"] {
        let input = std::fs::File::open(folder.join(file)).unwrap();
        let loaded = Command::new(mysql_program("mysql"))
            .args([
                "--no-defaults",
                "--user=root",
                "--default-character-set=utf8mb4",
            ])
            .arg(format!(
                "--socket={}",
                pair.source.server.socket().display()
            ))
            .stdin(Stdio::from(input))
            .output()
            .unwrap();
        assert!(
            loaded.status.success(),
            "{file}: {}",
            String::from_utf8_lossy(&loaded.stderr)
        );
    }
    // The script made the database anew.
    pair.source.reconnect().await;

    let stamped = pair
        .source
        .column(
            "SELECT DISTINCT TABLE_NAME FROM information_schema.COLUMNS JOIN information_schema.TABLES \
             USING (TABLE_SCHEMA, TABLE_NAME) WHERE TABLE_SCHEMA=DATABASE() AND TABLE_TYPE='BASE TABLE' \
             AND DATA_TYPE='timestamp' AND EXTRA LIKE '%on update%' ORDER BY 1",
        )
        .await;
    assert!(stamped.len() >= 14, "{stamped:?}");
    let tables = stamped.join(",");
    let stamped: Vec<&str> = stamped.iter().map(String::as_str).collect();
    let output = pair.pull(&["--create-tables", "-t", &tables]).await.ok();
    assert!(output.rows("rental") > 10_000, "{}", output.stderr);
    pair.assert_same_in(&stamped).await;

    let mut random = Random(0x5EED);
    let mut changed = 0;
    while changed < 400 {
        let statement = change(&mut random);
        if pair.source.try_run(&statement).await.is_ok() {
            changed += 1;
        }
    }
    pair.pull(&["-t", &tables]).await.ok();
    pair.assert_same_in(&stamped).await;
    // Everything else is named, with code 1.
    pair.pull(&[]).await.fails_naming(&["film_text"]);
}

/// A statement that changes some rows; some violate a key and change nothing.
fn change(random: &mut Random) -> String {
    let id = random.below(600) + 1;
    let other = random.below(600) + 1;
    match random.below(10) {
        0 => format!(
            "UPDATE customer SET email=CONCAT('{other}.', email), active=1-active WHERE customer_id={id}"
        ),
        1 => format!(
            "UPDATE film SET rental_rate=rental_rate+0.01, special_features='Trailers,Commentaries' WHERE film_id={id}"
        ),
        2 => format!("UPDATE film SET rating='NC-17', release_year=NULL WHERE film_id={other}"),
        3 => format!(
            "INSERT INTO actor (first_name, last_name) VALUES ('Ünï {id}', 'O''Neil \\\\ {other}')"
        ),
        4 => format!(
            "UPDATE rental SET return_date=NULL WHERE rental_id={}",
            id * 20 + other % 20
        ),
        5 => format!(
            "INSERT INTO payment (customer_id, staff_id, rental_id, amount, payment_date) VALUES ({}, 1, NULL, {}.99, NOW())",
            id % 599 + 1,
            other % 90
        ),
        6 => format!(
            "UPDATE address SET location=ST_GeomFromText('POINT({id}.5 {other}.25)'), phone='' WHERE address_id={id}"
        ),
        7 => format!(
            "INSERT INTO film_actor (actor_id, film_id) VALUES ({}, {other})",
            id % 200 + 1
        ),
        8 => format!(
            "UPDATE staff SET picture=UNHEX(SHA2('{id}',512)), password=NULL WHERE staff_id={}",
            id % 2 + 1
        ),
        _ => format!(
            "INSERT INTO inventory (film_id, store_id) VALUES ({id}, {})",
            other % 2 + 1
        ),
    }
}

/// A small generator: the same changes every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
