//! Times, values and names.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::any::*;
use crate::ident::{Ident, MAX_CHARS};
use crate::kind::Kind;
use crate::session;
use crate::sql_reader::{self, Sql};
use crate::stamp::Stamp;

proptest! {
    #[test]
    fn a_stamp_keeps_its_value_as_text(stamp in stamp()) {
        prop_assert_eq!(Stamp::parse(&stamp.to_string()), Ok(stamp));
        prop_assert_eq!(Stamp::parse(&stamp.sql()), Ok(stamp));
        prop_assert_eq!(Stamp::from_sql(stamp.sql().as_bytes()), Ok(stamp));
        let json = serde_json::to_string(&stamp).unwrap();
        prop_assert_eq!(serde_json::from_str::<Stamp>(&json).unwrap(), stamp);
    }

    #[test]
    fn stamps_are_ordered_as_their_sql_text(one in stamp(), other in stamp()) {
        prop_assert_eq!(one.cmp(&other), one.sql().cmp(&other.sql()));
    }

    #[test]
    fn a_floor_is_below_and_the_next_above(stamp in stamp(), precision in 0..=6_u8) {
        let (floor, next) = (stamp.floor(precision), stamp.next(precision));
        prop_assert!(floor <= stamp && stamp < next);
        prop_assert_eq!(next.floor(precision), next);
        prop_assert_eq!(floor.next(precision), next);
    }

    /// Whoever asks with any text as `since` gets an answer, and the same one for the time's own text.
    #[test]
    fn any_text_is_a_time_or_none(text in nasty(), tail in "[-0-9T: .Z+]{0,12}") {
        for text in [text.clone(), format!("2014-09-01{tail}"), format!("0000-00-00{tail}{text}")] {
            if let Ok(stamp) = Stamp::parse(&text) {
                prop_assert_eq!(Stamp::parse(&stamp.to_string()), Ok(stamp));
                prop_assert!(!text.contains(['\'', '\\', '"', '(']), "{:?}", text);
            }
            let _ = Stamp::from_sql(text.as_bytes());
        }
    }

    #[test]
    fn r7_a_value_travels_and_its_literal_is_the_same_value((kind, value, sql) in value()) {
        let wire = encoded(kind, Some(&value));
        let json: &RawValue = serde_json::from_str(&wire).unwrap();
        prop_assert_eq!(json.get(), &wire);
        prop_assert_eq!(sql_reader::literal(&literal_of(kind, &wire)), Some(sql));
    }

    #[test]
    fn r7_a_tagged_value_too(value in bytes()) {
        let tagged = match std::str::from_utf8(&value) {
            Ok(text) => format!("t{text}"),
            Err(_) => format!("b{}", value.iter().map(|byte| format!("{byte:02X}")).collect::<String>()),
        };
        let mut wire = Vec::new();
        Kind::Text.encode(Some(tagged.as_bytes()), true, &mut wire).unwrap();
        let wire = String::from_utf8(wire).unwrap();
        prop_assert_eq!(sql_reader::literal(&literal_of(Kind::Text, &wire)), Some(Sql::Bytes(value)));
    }

    /// Whatever a server answers is one JSON value on the wire, or an error.
    #[test]
    fn any_bytes_are_one_value_or_none(kind in kind(), value in bytes(), tagged in any::<bool>()) {
        let mut wire = Vec::new();
        if kind.encode(Some(&value), tagged, &mut wire).is_ok() {
            let json: Result<&RawValue, _> = serde_json::from_slice(&wire);
            prop_assert!(json.is_ok_and(|json| json.get().len() == wire.len()), "{:?}", String::from_utf8_lossy(&wire));
        }
    }

    /// A literal never ends its own quotes, whatever came over the network.
    #[test]
    fn r7_any_text_is_one_literal_or_none(kind in kind(), text in nasty(), takes_bytes in any::<bool>()) {
        let quoted = serde_json::to_string(&text).unwrap();
        for wire in [text.clone(), quoted, format!("\"{text}\""), format!("{{\"base64\":\"{text}\"}}")] {
            let mut literal = Vec::new();
            if kind.literal(&wire, takes_bytes, &mut literal).is_ok() {
                prop_assert!(sql_reader::literal(&literal).is_some(), "{} {}", wire, String::from_utf8_lossy(&literal));
            }
            if let Ok(literal) = kind.order_literal(&wire) {
                let read = sql_reader::literal(literal.as_bytes());
                prop_assert!(read.is_some_and(|sql| sql != Sql::Null), "{} {}", wire, literal);
            }
        }
    }

    #[test]
    fn a_keys_literal_is_the_value((kind, value, sql) in value()) {
        let wire = encoded(kind, Some(&value));
        match kind.order_literal(&wire) {
            Ok(literal) => prop_assert_eq!(sql_reader::literal(literal.as_bytes()), Some(sql)),
            // Text without a Unicode form, and a point: no key is ordered by them.
            Err(_) => prop_assert!(wire.starts_with('{') || kind == Kind::Geometry, "{}", wire),
        }
    }

    #[test]
    fn a_text_is_one_literal(text in nasty()) {
        let literal = session::literal(&text);
        prop_assert_eq!(sql_reader::literal(literal.as_bytes()), Some(Sql::Bytes(text.into_bytes())));
    }

    #[test]
    fn a_name_never_ends_its_own_quotes(text in nasty()) {
        match Ident::parse(&text) {
            Ok(ident) => {
                let quoted = ident.to_string();
                let inner = quoted.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).unwrap();
                let pairs = inner.replace("``", "");
                prop_assert!(!pairs.contains('`'));
                prop_assert_eq!(inner.replace("``", "`"), text.as_str());
                let json = serde_json::to_string(&ident).unwrap();
                prop_assert_eq!(serde_json::from_str::<Ident>(&json).unwrap(), ident);
            }
            Err(_) => {
                let is_odd = |character| character == '\0' || character > '\u{ffff}';
                prop_assert!(text.is_empty() || text.chars().any(is_odd) || text.chars().count() > MAX_CHARS);
            }
        }
    }
}
