//! SQL: the destination's greatest positions, and the keys of its rows.

use common::kind::Kind;
use common::session::literal;
use common::stamp::Stamp;
use mysql_async::{Row, Value};

use crate::client::KeyValues;
use crate::destination::{Destination, LOCK_WAIT};
use crate::error::PullError;
use crate::plan::Plan;
use crate::refusal::{Failure, failure};
use crate::upsert::compares;

/// Tables whose positions are asked for at once.
const AT_ONCE: usize = 100;

/// A position, or a candidate for one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Position {
    pub(crate) stamp: Stamp,
    pub(crate) key: KeyValues,
}

impl Destination {
    /// R3, R4: the greatest (stamp, key) below the horizon, and those before it, in falling order;
    /// at most `count`, and only those before `before` if that is given, without the first `skip`.
    pub(crate) async fn positions(
        &mut self,
        plan: &Plan,
        horizon: Stamp,
        before: Option<&Position>,
        skip: usize,
        count: usize,
    ) -> Result<Vec<Position>, PullError> {
        let stamp = &plan.stamp.name;
        let (table, top) = (&plan.table, horizon.sql());
        let order = |direction: &str| -> String {
            let key = plan.key.iter().map(|key| key.destination.order());
            std::iter::once(stamp.to_string())
                .chain(key)
                .map(|expression| format!("{expression} {direction}"))
                .collect::<Vec<_>>()
                .join(",")
        };
        let mut condition = format!("{stamp}<'{top}'").into_bytes();
        if let Some(before) = before {
            let at = before.stamp.sql();
            condition = format!("({stamp}<'{at}' OR ({stamp}='{at}' AND ").into_bytes();
            condition
                .extend(compares(plan, &before.key, '<').map_err(|error| broken(plan, &error))?);
            condition.extend_from_slice(b"))");
        }
        let condition = String::from_utf8_lossy(&condition).into_owned();
        // Only the stamps first: an index answers that, and what has to be sorted by key is then
        // no more than the rows of the last few stamps.
        let lowest: Option<String> = self
            .link
            .query_first(format!(
                "SELECT {stamp} FROM {table} WHERE {condition} ORDER BY {stamp} DESC LIMIT {},1",
                skip + count - 1
            ))
            .await?;
        let floor = lowest.map_or(String::new(), |lowest| {
            format!(" AND {stamp}>={}", literal(&lowest))
        });
        let columns: Vec<String> = plan
            .key
            .iter()
            .map(|key| key.destination.select())
            .collect();
        let rows: Vec<Row> = self
            .link
            .query(format!(
                "SELECT {stamp},{} FROM {table} WHERE {condition}{floor} ORDER BY {} LIMIT {skip},{count}",
                columns.join(","),
                order("DESC")
            ))
            .await?;
        rows.iter().map(|row| position_of(plan, row)).collect()
    }
}

impl Destination {
    /// R3, R4: the greatest position below the horizon of each of some tables, whose stamps have an index; none
    /// where there is none or it cannot be had at once.
    pub(crate) async fn tops(
        &mut self,
        plans: &[&Plan],
        horizon: Stamp,
    ) -> Result<Vec<Option<Position>>, PullError> {
        if plans.is_empty() {
            return Ok(Vec::new());
        }
        // A table that is locked is waited for when its turn comes.
        self.link.query_drop("SET lock_wait_timeout=1").await?;
        let tops = self.tops_at_once(plans, horizon).await;
        self.link.query_drop(LOCK_WAIT).await?;
        tops
    }

    async fn tops_at_once(
        &mut self,
        plans: &[&Plan],
        horizon: Stamp,
    ) -> Result<Vec<Option<Position>>, PullError> {
        let mut tops = Vec::with_capacity(plans.len());
        for some in plans.chunks(AT_ONCE) {
            let statements = some
                .iter()
                .map(|plan| top(plan, horizon.floor(plan.precision)));
            let statements: Vec<String> = statements.collect();
            let (found, failed) = self.link.query_each(&statements).await?;
            for (plan, rows) in some.iter().zip(&found) {
                let position = rows.first().map(|row| position_of(plan, row));
                tops.push(position.transpose()?);
            }
            if let Some(error) = failed {
                if failure(&error) == Failure::Lost {
                    return Err(error.into());
                }
                tracing::debug!(%error, "a position could not be had at once");
                break;
            }
        }
        tops.resize_with(plans.len(), || None);
        Ok(tops)
    }
}

/// A statement that finds a table's greatest position.
fn top(plan: &Plan, horizon: Stamp) -> String {
    let (stamp, table) = (&plan.stamp.name, &plan.table);
    let key = plan.key.iter().map(|key| key.destination.select());
    let order = plan
        .key
        .iter()
        .map(|key| format!("{} DESC", key.destination.order()));
    format!(
        "SELECT {stamp},{} FROM {table} WHERE {stamp}=(SELECT {stamp} FROM {table} WHERE {stamp}<'{}' \
         ORDER BY {stamp} DESC LIMIT 1) ORDER BY {} LIMIT 1",
        key.collect::<Vec<_>>().join(","),
        horizon.sql(),
        order.collect::<Vec<_>>().join(",")
    )
}

/// The position of a row that begins with its stamp and its key.
fn position_of(plan: &Plan, row: &Row) -> Result<Position, PullError> {
    Ok(Position {
        stamp: cell(row, 0)
            .and_then(|text| Stamp::from_sql(text).ok())
            .unwrap_or_default(),
        key: key_of(plan, row, 1)?,
    })
}

/// The wire forms of a key whose columns begin at `from`.
pub(crate) fn key_of(plan: &Plan, row: &Row, from: usize) -> Result<KeyValues, PullError> {
    plan.key
        .iter()
        .enumerate()
        .map(|(at, planned)| {
            let column = &planned.destination;
            wire(
                planned.source.kind,
                cell(row, from + at),
                column.is_tagged(),
            )
            .map_err(|error| broken(plan, &error))
        })
        .collect()
}

pub(crate) fn wire(
    kind: Kind,
    value: Option<&[u8]>,
    tagged: bool,
) -> Result<String, common::wire::KindError> {
    let mut out = Vec::new();
    kind.encode(value, tagged, &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

pub(crate) fn cell(row: &Row, at: usize) -> Option<&[u8]> {
    match row.as_ref(at) {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

pub(crate) fn broken(plan: &Plan, error: &common::wire::KindError) -> PullError {
    PullError::Table {
        table: plan.table.clone(),
        reason: format!("a key cannot be compared: {error}"),
    }
}
