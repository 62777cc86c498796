//! Reads SQL literals back as the sessions of [`session`](crate::session) do; for tests alone.

/// What a literal stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sql {
    /// NULL.
    Null,
    /// A number, by its digits.
    Number(String),
    /// Text, or the bytes of an introducer or of a hexadecimal literal.
    Bytes(Vec<u8>),
    /// A call: what JSON that holds a DECIMAL is made by.
    Call(&'static str, Vec<Sql>),
}

/// The one literal that the text is; none where it is anything else, or more.
#[cfg(test)]
pub(crate) fn literal(text: &[u8]) -> Option<Sql> {
    let [literal] = <[Sql; 1]>::try_from(tuple(&[b"(", text, b")"].concat())?).ok()?;
    Some(literal)
}

/// The literals of a list in parentheses; none where it is anything else, or more.
pub(crate) fn tuple(text: &[u8]) -> Option<Vec<Sql>> {
    let (list, rest) = list(text.strip_prefix(b"(")?)?;
    rest.is_empty().then_some(list)
}

fn list(mut text: &[u8]) -> Option<(Vec<Sql>, &[u8])> {
    let mut list = Vec::new();
    loop {
        let (sql, rest) = read(text)?;
        list.push(sql);
        match rest.split_first()? {
            (b',', rest) => text = rest,
            (b')', rest) => return Some((list, rest)),
            _ => return None,
        }
    }
}

fn read(text: &[u8]) -> Option<(Sql, &[u8])> {
    if let Some(rest) = text.strip_prefix(b"NULL") {
        return Some((Sql::Null, rest));
    }
    if let Some(rest) = text.strip_prefix(b"JSON_REPLACE(") {
        let (list, rest) = list(rest)?;
        return Some((Sql::Call("JSON_REPLACE", list), rest));
    }
    if let Some(rest) = text.strip_prefix(b"CAST(") {
        let (number, rest) = number(rest)?;
        let rest = rest.strip_prefix(b" AS JSON)")?;
        return Some((Sql::Call("CAST", vec![number]), rest));
    }
    let bytes = text.strip_prefix(b"_binary").unwrap_or(text);
    let bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
    match bytes.first()? {
        b'\'' => quoted(bytes),
        b'x' => hexadecimal(bytes),
        // An introducer stands before text alone.
        _ if bytes.len() == text.len() => number(text),
        _ => None,
    }
}

/// A number as SQL has it, with a sign.
fn number(text: &[u8]) -> Option<(Sql, &[u8])> {
    let digits = |from: usize| {
        text[from..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    match digits(at) {
        0 => return None,
        count => at += count,
    }
    if text.get(at) == Some(&b'.') {
        match digits(at + 1) {
            0 => return None,
            count => at += 1 + count,
        }
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        match digits(at) {
            0 => return None,
            count => at += count,
        }
    }
    let (number, rest) = text.split_at(at);
    Some((Sql::Number(String::from_utf8(number.to_vec()).ok()?), rest))
}

fn quoted(text: &[u8]) -> Option<(Sql, &[u8])> {
    let mut bytes = Vec::new();
    let mut rest = &text[1..];
    loop {
        match rest {
            [b'\'', b'\'', tail @ ..] => {
                bytes.push(b'\'');
                rest = tail;
            }
            [b'\'', tail @ ..] => return Some((Sql::Bytes(bytes), tail)),
            [b'\\', escaped, tail @ ..] => {
                match escaped {
                    b'0' => bytes.push(0),
                    b'b' => bytes.push(8),
                    b'n' => bytes.push(b'\n'),
                    b'r' => bytes.push(b'\r'),
                    b't' => bytes.push(b'\t'),
                    b'Z' => bytes.push(26),
                    b'%' | b'_' => bytes.extend([b'\\', *escaped]),
                    _ => bytes.push(*escaped),
                }
                rest = tail;
            }
            [byte, tail @ ..] => {
                bytes.push(*byte);
                rest = tail;
            }
            [] => return None,
        }
    }
}

fn hexadecimal(text: &[u8]) -> Option<(Sql, &[u8])> {
    let text = text.strip_prefix(b"x'")?;
    let end = text.iter().position(|byte| *byte == b'\'')?;
    let (digits, rest) = (&text[..end], &text[end + 1..]);
    let pairs = digits.chunks(2).map(|pair| {
        let [high, low] = pair else { return None };
        let digit = |sign: u8| char::from(sign).to_digit(16);
        u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
    });
    Some((Sql::Bytes(pairs.collect::<Option<_>>()?), rest))
}
