//! Changed rows and rows by key, as statements.
//!
//! R2. Only rows with `stamp < horizon` are read, in the order (stamp, key). The horizon was known
//! before the first statement here opens its view, so every row below it is visible to all of
//! them, or has been changed again and comes later with a new stamp. That is why an answer may be
//! read by many short statements: none holds a view open for long, and with an index on the
//! stamp none sorts more than a chunk, or the rows of one stamp.

use common::scan::behind;
use common::stamp::Stamp;
use mysql_async::Row;

use crate::extent::{Extent, Extents, are_dense};
use crate::lease::{Lease, SourceError, bytes};
use crate::reading::{Reading, Rows, literal};
use crate::sink::{self, Found, ReadError, Sink, SinkError};

/// Rows of one statement, about. The optimiser of MySQL prefers to sort a whole table to
/// following an index; it is given pieces that are cheap to sort.
const CHUNK: u64 = 10_000;

/// A chunk of more stamps is not looked at stamp by stamp.
const STAMPS: u64 = 1_000;

/// Reads rows into the sink; answers whether `limit` left some out.
///
/// # Errors
/// When the source failed or the reader went away; the connection is ended then.
pub(crate) async fn read(
    lease: Lease,
    reading: &Reading,
    sink: &mut impl Sink,
) -> Result<bool, ReadError> {
    let mut reader = Reader {
        lease,
        reading,
        sent: Limited {
            sink,
            left: reading.limit,
            more: false,
        },
        few_stamps: true,
    };
    match &reading.rows {
        Rows::Keys(condition) => {
            reader
                .statement(&reading.select("", condition, &[]))
                .await?;
        }
        Rows::Window {
            since,
            after,
            horizon,
            ..
        } => reader.window(*since, after.as_deref(), *horizon).await?,
    }
    Ok(reader.sent.more)
}

struct Reader<'a, S> {
    lease: Lease,
    reading: &'a Reading,
    sent: Limited<'a, S>,
    /// Whether chunks have had few stamps so far.
    few_stamps: bool,
}

impl<S: Sink> Reader<'_, S> {
    async fn window(
        &mut self,
        since: Option<Stamp>,
        after: Option<&[String]>,
        horizon: Stamp,
    ) -> Result<(), ReadError> {
        let stamp = &self.reading.stamp.name;
        // What the rows still to be read have in common.
        let mut low = "TRUE".to_owned();
        match since {
            None if self.reading.stamp.nullable => {
                let after = after.map(<[String]>::to_vec);
                self.tie(&format!("{stamp} IS NULL"), after).await?;
                low = format!("{stamp} IS NOT NULL");
            }
            None => {}
            Some(since) if since >= horizon => return Ok(()),
            Some(since) => {
                low = format!("{stamp} >= {}", literal(since));
                if let Some(after) = after {
                    self.tie(
                        &format!("{stamp} = {}", literal(since)),
                        Some(after.to_vec()),
                    )
                    .await?;
                    low = format!("{stamp} > {}", literal(since));
                }
            }
        }
        let mut start = None;
        while !self.sent.more {
            match self.boundary(&low, horizon).await? {
                Some(boundary) if Some(boundary) == start => {
                    // More rows of one stamp than a chunk has.
                    let boundary = literal(boundary);
                    self.tie(&format!("{stamp} = {boundary}"), None).await?;
                    low = format!("{stamp} > {boundary}");
                    start = None;
                }
                Some(boundary) => {
                    self.chunk_up_to(&low, boundary).await?;
                    low = format!("{stamp} >= {}", literal(boundary));
                    start = Some(boundary);
                }
                None => {
                    self.range(&low, horizon).await?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// The stamp a chunk further on; none when less than a chunk is left, or when there is no
    /// index to find it by.
    async fn boundary(&mut self, low: &str, horizon: Stamp) -> Result<Option<Stamp>, ReadError> {
        if self.reading.index().is_none() {
            return Ok(None);
        }
        let stamp = &self.reading.stamp.name;
        let sql = format!(
            "SELECT {stamp} FROM {} WHERE {low} AND {stamp} < {} ORDER BY {stamp} LIMIT 1 OFFSET {}",
            self.reading.from(),
            literal(horizon),
            self.chunk()
        );
        let found = sink::read(&mut self.lease, &sql, &mut Unsent(self.sent.sink)).await?;
        let Some(text) = found.last.as_ref().and_then(|row| bytes(row, 0)) else {
            return Ok(None);
        };
        let boundary = Stamp::from_sql(text).map_err(|error| SourceError::Odd(error.into()))?;
        Ok(Some(boundary))
    }

    /// The same rows as [`Reader::range`], which are about a chunk.
    async fn chunk_up_to(&mut self, low: &str, high: Stamp) -> Result<(), ReadError> {
        let condition = self.stamped(low, high);
        let Some(extent) = self.extent(&condition).await? else {
            return self.range(low, high).await;
        };
        let order = match extent.in_order {
            true => self.reading.key_order(),
            false => self.order(),
        };
        let (first, last) = (extent.first, extent.last);
        self.along_key(&condition, first, last, &order).await?;
        Ok(())
    }

    /// The keys of a chunk; none where reading it along them is of no use.
    async fn extent(&mut self, condition: &str) -> Result<Option<Extent>, ReadError> {
        // Whoever wants a few rows is not to wait for a statement more.
        if self.sent.left.is_some() {
            return Ok(None);
        }
        let Some(key) = self.reading.whole_number_key() else {
            return Ok(None);
        };
        let (stamp, from) = (&self.reading.stamp.name, self.reading.from());
        let mut extents = Extents::new(self.sent.sink);
        if self.few_stamps {
            let sql = format!(
                "SELECT MIN({key}), MAX({key}), COUNT(*) FROM {from} WHERE {condition} \
                 GROUP BY {stamp} ORDER BY {stamp} LIMIT {}",
                STAMPS + 1
            );
            let found = sink::read(&mut self.lease, &sql, &mut extents).await?;
            self.few_stamps = found.count <= STAMPS;
        }
        if !self.few_stamps {
            extents = Extents::new(self.sent.sink);
            let sql =
                format!("SELECT MIN({key}), MAX({key}), COUNT(*) FROM {from} WHERE {condition}");
            sink::read(&mut self.lease, &sql, &mut extents).await?;
        }
        let extent = extents.whole.map(|mut extent| {
            // All stamps together tell nothing of the order, and a row that comes late has any place.
            extent.in_order &= self.few_stamps && self.reading.proven;
            extent
        });
        Ok(extent.filter(Extent::is_dense))
    }

    /// Rows that the condition holds for and whose keys lie between these, read along the primary key.
    async fn along_key(
        &mut self,
        condition: &str,
        first: i128,
        last: i128,
        order: &[String],
    ) -> Result<(), ReadError> {
        let Some(key) = self.reading.whole_number_key() else {
            return Ok(());
        };
        // No row can come below the horizon, so none of them can lie beyond these keys.
        let condition = format!("{condition} AND {key} BETWEEN {first} AND {last}");
        let table = self.reading.table_by_key();
        let sql = self.reading.select(&table, &condition, order);
        self.statement(&sql).await
    }

    /// Rows that `low` holds for, stamped before `high`.
    async fn range(&mut self, low: &str, high: Stamp) -> Result<(), ReadError> {
        let condition = self.stamped(low, high);
        let sql = self
            .reading
            .select(&self.reading.from(), &condition, &self.order());
        self.statement(&sql).await
    }

    fn stamped(&self, low: &str, high: Stamp) -> String {
        format!("{low} AND {} < {}", self.reading.stamp.name, literal(high))
    }

    /// (stamp, key).
    fn order(&self) -> Vec<String> {
        let mut order = vec![self.reading.stamp.name.to_string()];
        order.extend(self.reading.key_order());
        order
    }

    /// Rows of one stamp, those behind the key `after` if there is one.
    async fn tie(&mut self, stamp: &str, mut after: Option<Vec<String>>) -> Result<(), ReadError> {
        let order = self.reading.key_order();
        let paged = self.reading.tie_in_order();
        while !self.sent.more {
            let condition = match &after {
                Some(key) => format!("{stamp} AND {}", behind(&order, key)),
                None => stamp.to_owned(),
            };
            if paged && let Some((first, last)) = self.page_of_keys(&condition, &order).await? {
                self.along_key(stamp, first, last, &order).await?;
                after = Some(vec![last.to_string()]);
                continue;
            }
            let mut sql = self
                .reading
                .select(&self.reading.from(), &condition, &order);
            if !paged {
                return self.statement(&sql).await;
            }
            let page = self.chunk();
            sql.push_str(&format!(" LIMIT {page}"));
            let found = self.rows(&sql).await?;
            match found.last {
                Some(row) if found.count >= page => after = Some(self.key_of(&row)?),
                _ => break,
            }
        }
        Ok(())
    }

    /// The keys of the next page of a tie, where it is a whole one and is read along them.
    async fn page_of_keys(
        &mut self,
        condition: &str,
        order: &[String],
    ) -> Result<Option<(i128, i128)>, ReadError> {
        let Some(key) = self.reading.whole_number_key() else {
            return Ok(None);
        };
        if self.sent.left.is_some() {
            return Ok(None);
        }
        let mut ends = Vec::new();
        for offset in [CHUNK - 1, 0] {
            let sql = format!(
                "SELECT {key} FROM {} WHERE {condition} ORDER BY {} LIMIT 1 OFFSET {offset}",
                self.reading.from(),
                order.join(", ")
            );
            let found = sink::read(&mut self.lease, &sql, &mut Unsent(self.sent.sink)).await?;
            let text = found.last.as_ref().and_then(|row| bytes(row, 0));
            let text = text.and_then(|text| std::str::from_utf8(text).ok());
            let Some(end) = text.and_then(|text| text.parse::<i128>().ok()) else {
                return Ok(None);
            };
            ends.push(end);
        }
        let (last, first) = (ends[0], ends[1]);
        Ok(are_dense(first, last, CHUNK.into()).then_some((first, last)))
    }

    /// How many rows the next statement is to find.
    fn chunk(&self) -> u64 {
        self.sent
            .left
            .map_or(CHUNK, |left| CHUNK.min(left.saturating_add(1)))
    }

    fn key_of(&self, row: &Row) -> Result<Vec<String>, ReadError> {
        let mut key = Vec::new();
        for column in self.reading.table.key_columns() {
            let at = self
                .reading
                .columns
                .iter()
                .position(|c| c.name == column.name);
            let mut wire = Vec::new();
            column.kind.encode(
                at.and_then(|at| bytes(row, at)),
                column.is_tagged(),
                &mut wire,
            )?;
            let wire = String::from_utf8_lossy(&wire);
            key.push(column.kind.order_literal(&wire)?);
        }
        Ok(key)
    }

    /// Sends all rows of a statement.
    async fn statement(&mut self, sql: &str) -> Result<(), ReadError> {
        // One row beyond the limit tells whether there are more.
        let limit = self.sent.left.map_or(String::new(), |left| {
            format!(" LIMIT {}", left.saturating_add(1))
        });
        self.rows(&format!("{sql}{limit}")).await?;
        Ok(())
    }

    async fn rows(&mut self, sql: &str) -> Result<Found, ReadError> {
        sink::read(&mut self.lease, sql, &mut self.sent).await
    }
}

/// Sends so many rows at most.
struct Limited<'a, S> {
    sink: &'a mut S,
    /// How many more rows may be sent.
    left: Option<u64>,
    /// A row was left out.
    more: bool,
}

impl<S: Sink> Sink for Limited<'_, S> {
    async fn row(&mut self, row: &Row) -> Result<(), SinkError> {
        match &mut self.left {
            // The statement's own LIMIT lets only this one row through.
            Some(0) => {
                self.more = true;
                return Ok(());
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.sink.row(row).await?;
        if self.sink.is_full() {
            self.left = Some(0);
        }
        Ok(())
    }

    async fn silence(&mut self) -> SinkError {
        self.sink.silence().await
    }
}

/// Sends no row: what a statement answers is only looked at.
struct Unsent<'a, S>(&'a mut S);

impl<S: Sink> Sink for Unsent<'_, S> {
    async fn row(&mut self, _: &Row) -> Result<(), SinkError> {
        Ok(())
    }

    async fn silence(&mut self) -> SinkError {
        self.0.silence().await
    }
}
