//! What holds for any rows, parts and bounds.

use common::digest::{Digest, RowHash};
use proptest::collection::{hash_set, vec};
use proptest::prelude::*;

use super::compare::{differing, in_requests, split_for};
use super::guard::{self, MaxDeletes};
use super::key;
use super::ranges::gone;
use super::shape::Compared;
use super::source::Cells;

fn compared(hash: u64) -> Compared {
    Compared {
        key: format!("[{hash}]").into(),
        hash: RowHash {
            key: hash,
            row: hash,
        },
    }
}

fn digest(rows: &[Compared]) -> Digest {
    let mut digest = Digest::default();
    rows.iter().for_each(|row| digest.add(row.hash));
    digest
}

proptest! {
    /// One or two rows that are gone are found whichever they are, and never a row that is still there when
    /// the rest is as it was.
    #[test]
    fn r9_few_rows_that_are_gone_are_found(
        hashes in hash_set(any::<u64>(), 2..60), gone_rows in 0..5_usize, changed in any::<Option<u64>>(),
    ) {
        let rows: Vec<Compared> = hashes.into_iter().map(compared).collect();
        let (gone_rows, left) = rows.split_at(gone_rows.min(rows.len()));
        let mut source = left.to_vec();
        if let (Some(change), Some(row)) = (changed, source.first_mut()) {
            *row = compared(change);
        }
        let found = gone(&rows, digest(&rows), digest(&source));
        if source.iter().zip(left).any(|(source, row)| source.hash != row.hash) {
            // It may be explained by chance alone, and is asked for before it counts.
            return Ok(());
        }
        let mut keys: Vec<_> = gone_rows.iter().map(|row| row.key.clone()).collect();
        let expected = matches!(keys.len(), 1 | 2).then(|| {
            keys.sort();
            keys
        });
        let found = found.map(|mut found| {
            found.sort();
            found
        });
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn parts_are_asked_for_once_and_in_order(lengths in vec(0..400_000_usize, 0..60), many in 0..20_000_usize) {
        let bound = lengths.iter().copied().max().unwrap_or_default().max(1 << 20) + 16;
        for parts in [lengths, vec![1; many]] {
            let requests = in_requests(&parts, |length| *length);
            prop_assert_eq!(&requests.concat(), &parts);
            for request in requests {
                prop_assert!(!request.is_empty() && request.len() <= 10_000);
                prop_assert!(request.iter().map(|length| length + 16).sum::<usize>() <= bound);
            }
        }
    }

    #[test]
    fn a_split_is_one_that_the_server_takes(rows in any::<u64>(), parts in 0..=8_000_u64) {
        let split = split_for(rows, parts);
        prop_assert!(split <= 16 && parts << split <= 1 << 20);
    }

    #[test]
    fn r9_cells_differ_or_are_the_same(cells in vec(((0..3_usize, 0..3_u64), (0..3_u64, 0..3_u64), any::<bool>()), 0..30)) {
        let (mut ours, mut theirs) = (Cells::new(), Cells::new());
        for (at, (rows, sum), here) in cells {
            let side = if here { &mut ours } else { &mut theirs };
            side.insert(at, Digest { rows, sum });
        }
        let found: Vec<_> = differing(&ours, &theirs).iter().map(|cell| cell.at).collect();
        for at in (0..3).flat_map(|part| (0..3).map(move |value| (part, value))) {
            let none = Digest::default();
            let same = ours.get(&at).unwrap_or(&none) == theirs.get(&at).unwrap_or(&none);
            prop_assert_eq!(found.iter().filter(|cell| **cell == at).count(), usize::from(!same));
        }
    }

    #[test]
    fn r9_no_bound_lets_more_pass_than_there_are(text in "[0-9]{1,6}%?|[0-9]{1,3}\\.[0-9]{1,3}%|\\PC{0,6}", rows in 0..1_u64 << 53) {
        let Ok(max) = text.parse::<MaxDeletes>() else {
            return Ok(());
        };
        let most = guard::limit(Some(max), rows);
        match max {
            MaxDeletes::Rows(number) => prop_assert_eq!(Ok(most), text.trim_start_matches('+').parse::<u64>().map(|_| number)),
            MaxDeletes::Percent(percent) => {
                prop_assert!((0.0..=100.0).contains(&percent));
                prop_assert!(most <= rows, "{} of {}", most, rows);
            }
        }
        prop_assert!(guard::limit(None, rows) <= rows.max(10_000));
    }

    #[test]
    fn a_key_is_read_as_it_was_written(values in vec(any::<Option<String>>(), 0..5)) {
        let values: Vec<String> = values.iter().map(|value| serde_json::to_string(value).unwrap()).collect();
        prop_assert_eq!(key::values(&key::text(&values)), values);
    }
}
