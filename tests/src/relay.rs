//! HTTP/1.1 as far as the proxy needs it: where a request ends, and where its answer does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy::{Gate, Order, Shared, lines};

/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// One connection of the puller's, request after request.
pub(crate) async fn relay(client: TcpStream, shared: Arc<Shared>) {
    let mut client = Peer::new(client);
    let mut backend = None;
    // However it ends, the connections end with it, and the sides are told no more than that.
    while let Ok(true) = exchange(&mut client, &mut backend, &shared).await {}
}

/// A connection, and what was read of it beyond what was asked for.
struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The body of an answer.
struct Body {
    chunked: bool,
    /// How many bytes are left of it, or of its chunk.
    left: u64,
}

/// What comes next in a body.
enum Next {
    Piece(Vec<u8>),
    End,
    /// One of the sides has gone.
    Gone,
}

/// One request and its answer; false when the connection ends with it.
async fn exchange(
    client: &mut Peer,
    backend: &mut Option<(u16, Peer)>,
    shared: &Shared,
) -> io::Result<bool> {
    let Some((request, text)) = request(client).await? else {
        return Ok(false);
    };
    shared
        .from_puller
        .fetch_add(request.len() as u64, Ordering::SeqCst);
    let (number, mut gate) = shared.begin(text);
    while gate.stops_request() {
        if gate.stop().await != Order::GoOn {
            return Ok(false);
        }
    }
    let port = shared.backend.load(Ordering::SeqCst);
    let (_, mut server) = match backend.take() {
        Some(kept) if kept.0 == port => kept,
        _ => (
            port,
            Peer::new(TcpStream::connect(("127.0.0.1", port)).await?),
        ),
    };
    server.stream.write_all(&request).await?;
    let whole = answer(client, &mut server, &mut gate, shared, number).await?;
    *backend = Some((port, server));
    Ok(whole)
}

/// A request, and its first line and body without percent signs; none when the puller has gone.
async fn request(client: &mut Peer) -> io::Result<Option<(Vec<u8>, String)>> {
    let Some(mut request) = client.through(b"\r\n\r\n").await? else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&request).into_owned();
    let mut text = head.lines().next().unwrap_or_default().to_owned();
    let mut left = header(&head, "content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    while left > 0 {
        let Some(piece) = client.piece(left).await? else {
            return Ok(None);
        };
        left -= piece.len() as u64;
        if text.lines().count() == 1 {
            text.push('\n');
        }
        text.push_str(&String::from_utf8_lossy(&piece));
        request.extend(piece);
    }
    Ok(Some((request, decoded(&text))))
}

/// Passes an answer on; false when it was not whole.
async fn answer(
    client: &mut Peer,
    server: &mut Peer,
    gate: &mut Gate,
    shared: &Shared,
    number: usize,
) -> io::Result<bool> {
    let Some(head) = server.through_unless_gone(b"\r\n\r\n", client).await? else {
        return Ok(false);
    };
    count(shared, head.len());
    client.stream.write_all(&head).await?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    shared.note(number, |exchange| {
        exchange.status = status.parse().unwrap_or(0);
    });
    let mut body = Body::of(&head);
    loop {
        while gate.stops_here() {
            match gate.stop().await {
                Order::GoOn => {}
                Order::End if body.chunked => {
                    client.stream.write_all(b"0\r\n\r\n").await?;
                    client.stream.shutdown().await?;
                    return Ok(false);
                }
                Order::Cut | Order::End => return Ok(false),
            }
        }
        let piece = match body.next(server, client, shared).await? {
            Next::Piece(piece) => piece,
            Next::End => {
                if body.chunked {
                    client.stream.write_all(b"0\r\n\r\n").await?;
                }
                return Ok(true);
            }
            Next::Gone => return Ok(false),
        };
        let length = gate.pass(&piece);
        let (now, later) = piece.split_at(length);
        body.put_back(server, later);
        count(shared, now.len());
        if now.is_empty() {
            // An empty chunk would be the end.
            continue;
        }
        shared.note(number, |exchange| {
            exchange.bytes += now.len() as u64;
            exchange.lines += lines(now);
        });
        if body.chunked {
            let mut chunk = format!("{:x}\r\n", now.len()).into_bytes();
            chunk.extend(now);
            chunk.extend(b"\r\n");
            client.stream.write_all(&chunk).await?;
        } else {
            client.stream.write_all(now).await?;
        }
    }
}

impl Body {
    fn of(head: &str) -> Self {
        let chunked = header(head, "transfer-encoding").is_some();
        let length = header(head, "content-length").and_then(|length| length.parse().ok());
        Self {
            chunked,
            left: if chunked { 0 } else { length.unwrap_or(0) },
        }
    }

    async fn next(
        &mut self,
        server: &mut Peer,
        client: &mut Peer,
        shared: &Shared,
    ) -> io::Result<Next> {
        if self.left == 0 {
            if !self.chunked {
                return Ok(Next::End);
            }
            // The end of the chunk before, if there was one, and the length of the next.
            let length = loop {
                let Some(line) = server.through_unless_gone(b"\r\n", client).await? else {
                    return Ok(Next::Gone);
                };
                count(shared, line.len());
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if !line.is_empty() {
                    break u64::from_str_radix(&line, 16).map_err(io::Error::other)?;
                }
            };
            if length == 0 {
                let end = server.through_unless_gone(b"\r\n", client).await?;
                return Ok(end.map_or(Next::Gone, |_| Next::End));
            }
            self.left = length;
        }
        let piece = tokio::select! {
            piece = server.piece(self.left) => piece?,
            () = client.gone() => None,
        };
        let Some(piece) = piece else {
            return Ok(Next::Gone);
        };
        self.left -= piece.len() as u64;
        Ok(Next::Piece(piece))
    }

    /// Gives back what may not pass yet.
    fn put_back(&mut self, server: &mut Peer, piece: &[u8]) {
        self.left += piece.len() as u64;
        server.buffer.splice(..0, piece.iter().copied());
    }
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        // Small pieces go on at once: somebody waits for them.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> io::Result<bool> {
        self.buffer.reserve(PIECE);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// Everything up to and with `end`; none when the connection ends before.
    async fn through(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        loop {
            let found = self.buffer.windows(end.len()).position(|at| at == end);
            if let Some(at) = found {
                return Ok(Some(self.buffer.drain(..at + end.len()).collect()));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// The same; none also when the other side has gone.
    async fn through_unless_gone(
        &mut self,
        end: &[u8],
        other: &mut Peer,
    ) -> io::Result<Option<Vec<u8>>> {
        tokio::select! {
            found = self.through(end) => found,
            () = other.gone() => Ok(None),
        }
    }

    /// The next bytes, `limit` at most; none at the end of the connection.
    async fn piece(&mut self, limit: u64) -> io::Result<Option<Vec<u8>>> {
        if self.buffer.is_empty() && !self.more().await? {
            return Ok(None);
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let length = self.buffer.len().min(limit);
        Ok(Some(self.buffer.drain(..length).collect()))
    }

    /// Waits until the other end has gone. What it sends meanwhile is kept.
    async fn gone(&mut self) {
        while matches!(self.more().await, Ok(true)) {}
    }
}

fn count(shared: &Shared, bytes: usize) {
    shared.from_server.fetch_add(bytes as u64, Ordering::SeqCst);
}

/// The value of a header.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Text as it was before it went into a URL or a form.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}
