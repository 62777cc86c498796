//! Hashes of rows, and their sums.

use proptest::collection::vec;
use proptest::prelude::*;

use super::any::*;
use crate::digest::{self, Digest, Hasher, RowHash, first_bits};
use crate::kind::Kind;

/// Spells a value as another server may.
fn respelled(kind: Kind, value: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(value.to_vec()).unwrap_or_default();
    let fraction = |text: &str| match text.contains('.') {
        true => format!("{text}00"),
        false => format!("{text}.00"),
    };
    match kind {
        Kind::Integer if !text.starts_with('-') => format!("00{text}").into_bytes(),
        Kind::Decimal => fraction(&text).into_bytes(),
        Kind::Time | Kind::DateTime | Kind::Timestamp => fraction(&text).into_bytes(),
        Kind::Float | Kind::Double => {
            let double: f64 = text.parse().unwrap();
            format!("{double:e}").into_bytes()
        }
        _ => value.to_vec(),
    }
}

/// Whether two values of a kind are the same to the databases.
fn same(kind: Kind, one: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return one == other;
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    match kind {
        Kind::Integer | Kind::Year => text(one).parse::<i128>() == text(other).parse::<i128>(),
        Kind::Float | Kind::Double => text(one).parse::<f64>() == text(other).parse::<f64>(),
        Kind::Bit => one
            .iter()
            .skip_while(|byte| **byte == 0)
            .eq(other.iter().skip_while(|byte| **byte == 0)),
        Kind::Decimal | Kind::Time | Kind::DateTime | Kind::Timestamp => {
            let cut = |value: &[u8]| {
                let text = text(value);
                let text = match text.contains('.') {
                    true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                    false => text,
                };
                if kind != Kind::Decimal {
                    return text;
                }
                let digits = text.trim_start_matches('-');
                let significant = digits.trim_start_matches('0');
                match (significant, text.starts_with('-')) {
                    ("", _) => String::new(),
                    (_, true) => format!("-{significant}"),
                    (_, false) => significant.to_owned(),
                }
            };
            cut(one) == cut(other)
        }
        _ => one == other,
    }
}

fn row_hash(row: &[(Kind, Option<Vec<u8>>)], key: &[usize]) -> RowHash {
    let mut hasher = Hasher::new(
        row.iter().map(|(kind, _)| (*kind, false)).collect(),
        key.to_vec(),
    );
    hasher.hash(|at| row[at].1.as_deref()).unwrap()
}

proptest! {
    #[test]
    fn r9_equal_rows_have_equal_hashes(values in vec((value(), any::<bool>()), 1..6)) {
        let row: Vec<(Kind, Option<Vec<u8>>)> =
            values.iter().map(|((kind, value, _), null)| (*kind, (!null).then(|| value.clone()))).collect();
        let other: Vec<_> = row
            .iter()
            .map(|(kind, value)| (*kind, value.as_ref().map(|value| respelled(*kind, value))))
            .collect();
        let key: Vec<usize> = (0..row.len()).rev().collect();
        prop_assert_eq!(row_hash(&row, &key), row_hash(&other, &key));
        let wires: Vec<(Kind, String)> = key.iter().map(|at| (row[*at].0, encoded(row[*at].0, row[*at].1.as_deref()))).collect();
        let of_key = digest::key_hash(wires.iter().map(|(kind, wire)| (*kind, wire.as_str())));
        prop_assert_eq!(of_key, row_hash(&row, &key).key);
    }

    #[test]
    fn r9_rows_have_equal_hashes_only_when_they_are_equal(
        (kind, one) in value().prop_map(|(kind, value, _)| (kind, value)), others in vec(value(), 1..8), tail in bytes(),
    ) {
        let mut others: Vec<Vec<u8>> = others.into_iter().filter(|(other, ..)| *other == kind).map(|(_, value, _)| value).collect();
        let mut longer = one.clone();
        longer.push(b'0');
        others.push(longer);
        for other in others.iter().map(|other| Some(other.as_slice())).chain([None]) {
            let row = |value: Option<&[u8]>| vec![(kind, value.map(<[u8]>::to_vec)), (Kind::Text, Some(tail.clone()))];
            let (Some(_), true) = (other, kind.encode(other, false, &mut Vec::new()).is_ok()) else { continue };
            let equal = row_hash(&row(Some(&one)), &[0]) == row_hash(&row(other), &[0]);
            prop_assert_eq!(equal, same(kind, Some(&one), other), "{:?} {:?} {:?}", kind, one, other);
        }
        prop_assert_ne!(row_hash(&[(kind, Some(one))], &[]), row_hash(&[(kind, None)], &[]));
    }

    #[test]
    fn r9_a_digest_has_no_order_and_parts_add_up(hashes in vec((any::<u64>(), any::<u64>()), 0..40), bits in 0..=8_u8, turn in any::<prop::sample::Index>()) {
        let digest = |rows: &[RowHash]| {
            let mut digest = Digest::default();
            rows.iter().for_each(|row| digest.add(*row));
            digest
        };
        let mut rows: Vec<RowHash> = hashes.into_iter().map(|(key, row)| RowHash { key, row }).collect();
        let whole = digest(&rows);
        let mut sum = Digest::default();
        for value in 0..1_u64 << bits {
            let part: Vec<RowHash> = rows.iter().filter(|row| first_bits(row.key, bits) == value).copied().collect();
            let part = digest(&part);
            sum = Digest { rows: sum.rows + part.rows, sum: sum.sum.wrapping_add(part.sum) };
        }
        prop_assert_eq!(sum, whole);
        if !rows.is_empty() {
            let at = turn.index(rows.len());
            rows.rotate_left(at);
            prop_assert_eq!(digest(&rows), whole);
        }
    }
}
