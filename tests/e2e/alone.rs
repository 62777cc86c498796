//! R5. Nobody else writes to the destination database while a puller does.

use harness::{Pair, Puller, same_flavour};

use crate::crash::blocked_writer;
use crate::{INDEXED, STAMP};

same_flavour!(a_batch_is_rolled_back_when_the_puller_lock_was_lost);

/// R5. Another puller may have begun since: the last look before the commit sees it.
async fn a_batch_is_rolled_back_when_the_puller_lock_was_lost(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    pair.pull(&[]).await.ok();
    pair.source.run("UPDATE t SET v=1").await;
    pair.source.next_second().await;

    let mut holder = pair.dest.session().await;
    holder.run("START TRANSACTION").await;
    holder.run("SELECT * FROM t WHERE id=2 FOR UPDATE").await;
    let puller = Puller::start(&pair.puller_args(&[]));
    blocked_writer(&pair.dest).await;
    let lock = format!("SELECT IS_USED_LOCK('dbd-puller:{}')", pair.dest.database);
    let idle = pair.dest.number(&lock).await;
    assert_ne!(idle, 0, "a connection holds the puller lock");
    pair.dest.run(format!("KILL {idle}")).await;
    harness::eventually("the puller lock is free", async || {
        (pair.dest.number(&lock).await == 0).then_some(())
    })
    .await;
    holder.run("ROLLBACK").await;
    puller.end().await.fails_naming(&["puller lock", "t"]);
    assert_eq!(pair.dest.one("SELECT SUM(v) FROM t").await, "0");
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}
