//! Statements that look as if they could not write, and do so later.

use harness::{Busy, Flavour, Pair, Puller};

use crate::{INDEXED, STAMP};

/// How long the statements here do nothing before they write. Longer than the sampler needs to
/// become sure of a statement.
const LATE: u32 = 5;

/// Two tables at both sides, and a puller that polls them.
async fn polled() -> (Pair, Puller) {
    let mut pair = Pair::start(Flavour::MariaDb, Flavour::MariaDb).await;
    for table in ["x", "y"] {
        pair.both(&format!(
            "CREATE TABLE {table} (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
        pair.source
            .run(format!(
                "INSERT INTO {table} (id, v) VALUES (1, 0), (2, 0), (100, 0)"
            ))
            .await;
    }
    let puller = pair.poll(0.1, &[]).await;
    pair.becomes_same(&["x", "y"]).await;
    (pair, puller)
}

/// Changes another row of the table, and sees it pulled as far as it may be, until the statement ends.
async fn others_write_meanwhile(pair: &Pair, puller: &mut Puller, table: &str, busy: &Busy) {
    let mut rounds = 0;
    while !busy.is_finished() {
        pair.source
            .run(format!("UPDATE {table} SET v=v+1 WHERE id=100"))
            .await;
        puller.pulls_again(table, 2).await;
        rounds += 1;
    }
    assert!(
        rounds > 2,
        "the statement ended too early to prove anything"
    );
    // Later stamps that can be seen by now.
    puller.pulls_again(table, 2).await;
}

/// R1. MariaDB shows the text of EXECUTE IMMEDIATE, whose own text is still being computed: a sleep
/// that shows no table in use.
#[tokio::test]
async fn a_statement_whose_text_is_still_computed_holds_the_horizon() {
    let (pair, mut puller) = polled().await;
    let mut writer = pair.source.session().await;
    writer.run("START TRANSACTION").await;
    writer.run("SELECT * FROM x WHERE id=2").await;
    let sql = format!(
        "EXECUTE IMMEDIATE CONCAT('UPDATE x SET v=v+1 WHERE id=1', IF(SLEEP({LATE}),' ',''))"
    );
    let busy = pair.source.start_on(writer, &sql).await;
    others_write_meanwhile(&pair, &mut puller, "x", &busy).await;
    let mut writer = busy.finish().await;
    writer.run("COMMIT").await;
    pair.becomes_same(&["x", "y"]).await;
    puller.terminate().await.ok();
}

/// R1. A temporary table hides the InnoDB table of that name: InnoDB's count of tables in use then
/// has room for one that a function will write. While the rows are read nothing shows the function,
/// and what it writes then has the stamp of the whole statement's start.
#[tokio::test]
async fn a_read_of_a_temporary_table_proves_nothing_of_its_functions() {
    let (pair, mut puller) = polled().await;
    pair.source
        .script(
            "CREATE TABLE s1 (n INT PRIMARY KEY) ENGINE=InnoDB;
             CREATE FUNCTION add_one(which INT) RETURNS INT MODIFIES SQL DATA
             BEGIN UPDATE y SET v=v+1 WHERE id=which; RETURN 1; END;",
        )
        .await;
    for late in [
        format!("SELECT SLEEP({LATE}), add_one(n) FROM s1"),
        format!("SELECT SUM(SLEEP({LATE}))+add_one(MAX(n)) FROM s1"),
    ] {
        let mut writer = pair.source.session().await;
        writer
            .run("CREATE TEMPORARY TABLE s1 (n INT PRIMARY KEY) ENGINE=MEMORY")
            .await;
        writer.run("INSERT INTO s1 VALUES (1)").await;
        writer.run("START TRANSACTION").await;
        writer.run("SELECT * FROM x WHERE id=2").await;
        let busy = pair.source.start_on(writer, &late).await;
        others_write_meanwhile(&pair, &mut puller, "y", &busy).await;
        let mut writer = busy.finish().await;
        writer.run("COMMIT").await;
        pair.becomes_same(&["x", "y"]).await;
    }
    puller.terminate().await.ok();
}
