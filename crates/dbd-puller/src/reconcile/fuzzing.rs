//! The lines of answers to a comparison.

#![expect(clippy::unwrap_used, reason = "a failure is what is looked for")]

use common::digest::{Part, canonical_key, first_bits, key_hash};
use common::ident::Ident;
use common::kind::Kind;
use common::scan::Scan;
use common::table::Column;

use crate::client::KeyValues;
use crate::reconcile::compare::{differing, split_for};
use crate::reconcile::key;
use crate::reconcile::source::{Cells, cell, listed, range};

const KINDS: [Kind; 2] = [Kind::Decimal, Kind::Binary];

/// Digests: lines of cells and of ranges, of a table whose key is of two columns.
pub fn digests(data: &[u8]) {
    let Some(([parts, split], lines)) = data.split_first_chunk() else {
        return;
    };
    let (parts, split) = (usize::from(*parts), *split % 17);
    let (mut theirs, ours) = (Cells::new(), Cells::new());
    let scan = scan();
    for line in lines.split(|byte| *byte == b'\n') {
        if let Ok((at, digest)) = cell(line, parts, split) {
            theirs.insert(at, digest);
        }
        let Ok(range) = range(line) else {
            continue;
        };
        let Some(up_to) = range.up_to else {
            continue;
        };
        known(&up_to);
        let values: Vec<&str> = up_to.iter().map(String::as_str).collect();
        if let Ok(bound) = scan.bound(&values) {
            let page = scan.page(&["x".to_owned()], Some(&bound), Some(&bound), 1);
            assert!(page.contains(&bound[1]));
        }
    }
    for cell in differing(&ours, &theirs) {
        assert!(cell.at.0 < parts && cell.at.1 < 1 << split);
        assert!(split_for(cell.theirs, parts as u64) <= 16);
    }
}

/// Keys: their lines, of a table whose key is of as many columns as the first byte says.
pub fn keys(data: &[u8]) {
    let Some((width, lines)) = data.split_first() else {
        return;
    };
    let width = usize::from(*width % 4);
    for line in lines.split(|byte| *byte == b'\n') {
        if let Ok(listed) = listed(line, width) {
            assert_eq!(listed.key.len(), width);
            assert_eq!(first_bits(listed.hash, 0), 0);
            known(&listed.key);
        }
    }
}

/// What a key is known by is the same for its text.
fn known(values: &KeyValues) {
    let kinded = |values: &KeyValues| {
        let kinded = KINDS
            .into_iter()
            .cycle()
            .zip(values.iter().map(String::as_str));
        (canonical_key(kinded.clone()), key_hash(kinded))
    };
    let text = key::text(values);
    assert_eq!(&key::values(&text), values);
    assert_eq!(kinded(values), kinded(&key::values(&text)));
    let part = Part {
        after: serde_json::from_str(&text).unwrap(),
        ..Part::default()
    };
    let json = serde_json::to_string(&part).unwrap();
    assert!(serde_json::from_str::<Part>(&json).is_ok());
}

fn scan() -> Scan {
    let column = |(at, kind): (usize, Kind)| Column {
        name: Ident::parse(&format!("c{at}")).unwrap(),
        column_type: String::new(),
        kind,
        charset: None,
        collation: None,
        max_length: None,
        scale: 0,
        nullable: false,
        has_default: false,
        generated: false,
        initialised: false,
        on_update: false,
    };
    Scan::new(
        "`t`",
        None,
        KINDS.into_iter().enumerate().map(column).collect(),
    )
}
