//! Which format of rows a caller takes.

use axum::http::{HeaderMap, header};

/// A format of rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    /// One object: header, rows as objects, count.
    Json,
    /// Frames, one a line.
    Ndjson,
    /// RFC 4180.
    Csv,
}

/// The formats, the preferred one first.
const FORMATS: [(Format, &str); 3] = [
    (Format::Json, "application/json"),
    (Format::Ndjson, "application/x-ndjson"),
    (Format::Csv, "text/csv"),
];

impl Format {
    /// The Content-Type of an answer.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// The format that the caller likes best; none where it takes none of them.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Option<Self> {
        let wanted = accept(headers);
        if wanted.trim().is_empty() {
            return Some(Self::Json);
        }
        let mut best = (0, None);
        for (format, name) in FORMATS {
            let quality = quality(&wanted, name);
            if quality > best.0 {
                best = (quality, Some(format));
            }
        }
        best.1
    }

    /// Whether the caller takes this format.
    pub(crate) fn is_taken(self, headers: &HeaderMap) -> bool {
        let wanted = accept(headers);
        let name = FORMATS.iter().find(|(format, _)| *format == self);
        wanted.trim().is_empty() || name.is_some_and(|(_, name)| quality(&wanted, name) > 0)
    }
}

/// Whether the caller likes a page better than any format: a browser does, and who takes everything does not.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let wanted = accept(headers);
    let page = quality(&wanted, "text/html");
    FORMATS
        .iter()
        .all(|(_, name)| quality(&wanted, name) < page)
}

/// All Accept headers as one.
fn accept(headers: &HeaderMap) -> String {
    let wanted = headers.get_all(header::ACCEPT).iter();
    let wanted: Vec<&str> = wanted.filter_map(|value| value.to_str().ok()).collect();
    wanted.join(",")
}

/// How much an Accept header wants a media type, from 0 to 1,000: as its most specific range says.
fn quality(accept: &str, name: &str) -> u32 {
    let family = name.split_once('/').map_or(name, |(family, _)| family);
    let mut found = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let specific = if media.eq_ignore_ascii_case(name) {
            3
        } else if media
            .strip_suffix("/*")
            .is_some_and(|of| of.eq_ignore_ascii_case(family))
        {
            2
        } else if media == "*/*" {
            1
        } else {
            continue;
        };
        let q = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
        if specific > found.0 {
            found = (specific, (q.clamp(0.0, 1.0) * 1000.0) as u32);
        }
    }
    found.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_the_caller_likes_best() {
        for (accept, format) in [
            ("", Some(Format::Json)),
            ("*/*", Some(Format::Json)),
            ("application/x-ndjson", Some(Format::Ndjson)),
            ("Application/X-NDJSON", Some(Format::Ndjson)),
            ("text/*", Some(Format::Csv)),
            ("text/csv, */*;q=0.1", Some(Format::Csv)),
            ("application/json;q=0.5, text/csv;q=0.9", Some(Format::Csv)),
            ("*/*, application/json;q=0", Some(Format::Ndjson)),
            ("text/html, image/*", None),
            ("application/json;q=0", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(Format::negotiate(&headers), format, "{accept:?}");
        }
        assert_eq!(Format::negotiate(&HeaderMap::new()), Some(Format::Json));
    }

    #[test]
    fn a_page_is_for_who_likes_it_best() {
        for (accept, page) in [
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("text/html", true),
            ("text/html, application/json;q=0.5", true),
            ("", false),
            ("*/*", false),
            ("text/*", false),
            ("text/html, */*", false),
            ("text/html;q=0.5, application/json", false),
            ("application/json", false),
            ("text/html;q=0", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(wants_page(&headers), page, "{accept:?}");
        }
        assert!(!wants_page(&HeaderMap::new()));
    }

    #[test]
    fn the_only_format_is_taken_or_not() {
        for (accept, taken) in [
            ("", true),
            ("*/*", true),
            ("application/*;q=0.1", true),
            ("application/json, Application/X-NDJSON", true),
            ("application/json", false),
            ("*/*, application/x-ndjson;q=0", false),
            ("text/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(Format::Ndjson.is_taken(&headers), taken, "{accept:?}");
        }
        assert!(Format::Ndjson.is_taken(&HeaderMap::new()));
    }
}
