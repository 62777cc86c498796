//! Rows to frames, JSON or CSV. Knows no SQL.

use axum::body::Body;
use common::frame::{End, Frame, Header, SourceState};
use common::table::Column;
use mysql_async::Row;
use tracing::Instrument;

use crate::accept::Format;
use crate::bounds::Term;
use crate::lease::{Lease, bytes};
use crate::metrics::Meter;
use crate::outlet::Outlet;
use crate::page::Page;
use crate::reach::Unready;
use crate::reading::Reading;
use crate::requests::Line;
use crate::sink::{ReadError, Sink, SinkError};
use crate::source;

/// What rows are read by, once it is known how far they reach.
pub(crate) struct Begun {
    pub(crate) header: Header,
    pub(crate) lease: Lease,
    pub(crate) reading: Reading,
}

/// The body of an answer. It begins at once, before the source has said anything: whoever locks the
/// table keeps `begun` waiting too.
pub(crate) fn body(
    format: Format,
    begun: impl Future<Output = Result<Begun, Unready>> + Send + 'static,
    page: Option<Page>,
    term: Term,
    meter: Meter,
) -> Body {
    let (mut outlet, body) = Outlet::open(format, term.stall, meter);
    outlet.held = page.as_ref().is_some_and(|page| page.whole);
    let sent = async move {
        let written = term.hold(write(format, begun, page, &term.line, &mut outlet));
        let result = written.await.unwrap_or_else(|ended| Err(ended.into()));
        outlet.close(result).await;
    };
    tokio::spawn(sent.in_current_span());
    body
}

async fn write(
    format: Format,
    begun: impl Future<Output = Result<Begun, Unready>>,
    page: Option<Page>,
    line: &Line,
    outlet: &mut Outlet,
) -> Result<(), ReadError> {
    let Begun {
        header,
        lease,
        reading,
    } = tokio::select! {
        biased;
        begun = begun => begun?,
        ended = outlet.silence() => return Err(ended.into()),
    };
    let mut writer = Writer::new(format, &reading, page, (line, outlet));
    writer.source = Some(header.source.clone());
    writer.begin(header);
    writer.outlet.flush().await?;
    let more = source::read(lease, &reading, &mut writer).await?;
    writer.end(more);
    Ok(())
}

struct Writer<'a> {
    format: Format,
    reading: &'a Reading,
    /// As of this answer; none before it has begun.
    source: Option<SourceState>,
    page: Option<Page>,
    columns: Vec<Column>,
    /// The columns' names as JSON, each with its colon.
    names: Vec<Vec<u8>>,
    line: &'a Line,
    outlet: &'a mut Outlet,
    rows: u64,
    bytes: usize,
}

impl<'a> Writer<'a> {
    fn new(
        format: Format,
        reading: &'a Reading,
        page: Option<Page>,
        (line, outlet): (&'a Line, &'a mut Outlet),
    ) -> Self {
        let columns = &reading.columns;
        let name = |column: &Column| {
            let mut name = serde_json::to_vec(&column.name).unwrap_or_default();
            name.push(b':');
            name
        };
        Self {
            format,
            reading,
            source: None,
            page,
            columns: columns.to_vec(),
            names: columns.iter().map(name).collect(),
            line,
            outlet,
            rows: 0,
            bytes: 0,
        }
    }

    fn begin(&mut self, header: Header) {
        self.line.rows(0);
        match self.format {
            Format::Ndjson => self
                .outlet
                .buffer
                .extend(Frame::Header(Box::new(header)).encode()),
            Format::Json => {
                self.outlet.buffer.extend_from_slice(b"{\"header\":");
                // Writing to memory cannot fail.
                let _ = serde_json::to_writer(&mut self.outlet.buffer, &header);
                self.outlet.buffer.extend_from_slice(b",\"rows\":[");
            }
            Format::Csv => {
                for (at, column) in self.columns.iter().enumerate() {
                    if at > 0 {
                        self.outlet.buffer.push(b',');
                    }
                    csv_text(column.name.as_str(), &mut self.outlet.buffer);
                }
                self.outlet.buffer.extend_from_slice(b"\r\n");
            }
        }
    }

    fn encode(&mut self, row: &Row) -> Result<(), common::wire::KindError> {
        let out = &mut self.outlet.buffer;
        match self.format {
            Format::Ndjson => out.push(b'['),
            Format::Json if self.rows == 0 => out.extend_from_slice(b"\n{"),
            Format::Json => out.extend_from_slice(b",\n{"),
            Format::Csv => {}
        }
        let mut wire = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let value = bytes(row, at);
            match self.format {
                Format::Ndjson => column.kind.encode(value, column.is_tagged(), out)?,
                Format::Json => {
                    out.extend_from_slice(&self.names[at]);
                    column.kind.encode(value, column.is_tagged(), out)?;
                }
                Format::Csv => {
                    wire.clear();
                    column.kind.encode(value, column.is_tagged(), &mut wire)?;
                    csv_value(&wire, out);
                }
            }
        }
        out.extend_from_slice(match self.format {
            Format::Ndjson => b"]\n",
            Format::Json => b"}",
            Format::Csv => b"\r\n",
        });
        self.rows += 1;
        self.line.rows(self.rows);
        self.outlet.meter.rows.inc();
        Ok(())
    }

    fn end(&mut self, more: bool) {
        let next = self.page.as_mut().and_then(|page| page.end(more));
        if let Some(page) = &mut self.page {
            page.tell(next.as_deref());
        }
        match self.format {
            Format::Ndjson => {
                let end = End {
                    rows: self.rows,
                    more,
                    next,
                };
                self.outlet.buffer.extend(Frame::End(end).encode());
            }
            Format::Json => {
                // A reference has nothing that JSON escapes.
                let next = next.map_or(String::new(), |next| format!(",\"next\":\"{next}\""));
                let end = format!("\n],\"count\":{},\"more\":{more}{next}}}\n", self.rows);
                self.outlet.buffer.extend_from_slice(end.as_bytes());
            }
            Format::Csv => {}
        }
    }
}

impl Sink for Writer<'_> {
    async fn row(&mut self, row: &Row) -> Result<(), SinkError> {
        let whole = self.outlet.buffer.len();
        if let Err(error) = self.encode(row) {
            self.outlet.buffer.truncate(whole);
            return Err(SinkError::Value(error));
        }
        self.bytes += self.outlet.buffer.len() - whole;
        if let (Some(page), Some(source)) = (&mut self.page, &self.source) {
            page.wrote((self.reading, source), row, self.rows, self.bytes)
                .map_err(SinkError::Value)?;
        }
        self.outlet.offer().await
    }

    fn is_full(&self) -> bool {
        let page = self.page.as_ref();
        page.is_some_and(|page| page.is_full(self.bytes))
    }

    async fn silence(&mut self) -> SinkError {
        self.outlet.silence().await
    }
}

/// A wire value as a field: NULL is empty, and an empty text is two quotes.
fn csv_value(wire: &[u8], out: &mut Vec<u8>) {
    match wire {
        b"null" => {}
        [b'"', ..] => match serde_json::from_slice::<String>(wire) {
            Ok(text) => csv_text(&text, out),
            Err(_) => out.extend_from_slice(wire),
        },
        // Text that has no Unicode form: the object that holds its bytes.
        [b'{', ..] => csv_text(&String::from_utf8_lossy(wire), out),
        _ => out.extend_from_slice(wire),
    }
}

fn csv_text(text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_csv_is_quoted_when_it_must_be() {
        for (wire, field) in [
            ("null", ""),
            ("\"\"", "\"\""),
            ("12", "12"),
            ("\"a b\"", "a b"),
            ("\"a,b\"", "\"a,b\""),
            ("\"a\\\"b\"", "\"a\"\"b\""),
            ("\"a\\nb\"", "\"a\nb\""),
            ("{\"base64\":\"gA==\"}", "\"{\"\"base64\"\":\"\"gA==\"\"}\""),
        ] {
            let mut out = Vec::new();
            csv_value(wire.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), field, "{wire}");
        }
    }
}
