//! The parts of a request; pure.

use std::error::Error;
use std::net::IpAddr;

use super::KeyValues;

/// The keys that one request may ask for; the server takes no more.
pub(crate) const MAX_KEYS: usize = 1_000;

/// The longest text of keys in one request, in bytes: what the URL of a request may hold.
const MAX_KEYS_BYTES: usize = 30_000;

/// Splits keys so that each part can be asked for in one request.
pub(crate) fn in_parts(keys: &[KeyValues]) -> Vec<&[KeyValues]> {
    let mut parts = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, key) in keys.iter().enumerate() {
        // A quote or a bracket takes three bytes in a URL.
        let length: usize = key.iter().map(|value| 3 * value.len() + 3).sum();
        if at > from && (at - from >= MAX_KEYS || bytes + length > MAX_KEYS_BYTES) {
            parts.push(&keys[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += length;
    }
    if from < keys.len() {
        parts.push(&keys[from..]);
    }
    parts
}

/// Parameters, as a URL or a form has them.
pub(crate) fn pairs(parameters: Vec<(&str, String)>) -> String {
    let pairs: Vec<String> = parameters
        .into_iter()
        .map(|(name, value)| format!("{name}={}", encoded(&value)))
        .collect();
    pairs.join("&")
}

/// A part of a URL: everything but letters, digits and `-_.` as percent signs, so that no name can
/// be taken for anything else.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Whether the connection was gone before anything of the request was sent. A server that does not accept the
/// certificate of this program says so when it has, to TLS, connected; another try may hear it.
pub(super) fn was_not_sent(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let of_http = error.downcast_ref::<hyper::Error>();
        if of_http.is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        next = error.source();
    }
    false
}

pub(super) fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_this_machine_is_compressed() {
        for (host, here) in [
            ("127.0.0.1", true),
            ("127.8.0.1", true),
            ("::1", true),
            ("Localhost", true),
            ("10.0.0.1", false),
            ("db1", false),
        ] {
            assert_eq!(is_this_machine(host), here, "{host}");
        }
    }

    #[test]
    fn a_name_is_one_part_of_a_url() {
        for (name, part) in [
            ("orders", "orders"),
            ("a b/c%d?e#f", "a%20b%2Fc%25d%3Fe%23f"),
            ("ü", "%C3%BC"),
            ("a.b", "a.b"),
        ] {
            assert_eq!(encoded(name), part, "{name}");
        }
    }

    #[test]
    fn keys_are_asked_for_in_bounded_parts() {
        let keys: Vec<KeyValues> = (0..2_500).map(|n: i32| vec![n.to_string()]).collect();
        let parts = in_parts(&keys);
        assert!(
            parts
                .iter()
                .all(|part| part.len() <= MAX_KEYS && !part.is_empty())
        );
        assert_eq!(parts.concat(), keys);
        let long = vec![vec!["x".repeat(50_000)], vec!["y".to_owned()]];
        assert_eq!(in_parts(&long).len(), 2);
        assert!(in_parts(&[]).is_empty());
    }
}
