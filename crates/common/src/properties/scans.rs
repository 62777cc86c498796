//! Pages and ranges of keys.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::ident::Ident;
use crate::kind::Kind;
use crate::scan::{Scan, behind};
use crate::table::Column;

proptest! {
    /// Rows of keys, read page by page: each is in exactly one page.
    #[test]
    fn r9_every_key_is_in_exactly_one_page(
        mut keys in vec(vec(-3..4_i64, 3), 0..40), columns in 1..=3_usize, limit in 1..7_usize,
    ) {
        keys.iter_mut().for_each(|key| key.truncate(columns));
        keys.sort();
        keys.dedup();
        let scan = scan(columns);
        let mut read: Vec<Vec<i64>> = Vec::new();
        let mut after: Option<Vec<String>> = None;
        loop {
            let sql = scan.page(&["x".to_owned()], after.as_ref(), None, limit as u64);
            let page: Vec<Vec<i64>> = keys.iter().filter(|key| holds(&sql, key)).take(limit).cloned().collect();
            read.extend(page.iter().cloned());
            let Some(last) = page.last().filter(|_| page.len() == limit) else { break };
            let texts: Vec<String> = last.iter().map(i64::to_string).collect();
            after = Some(scan.bound(&texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap());
        }
        prop_assert_eq!(read, keys);
    }

    /// Ranges that meet at a key: each key is in exactly one.
    #[test]
    fn r9_every_key_is_in_exactly_one_range(
        key in vec(-3..4_i64, 3), mut cuts in vec(vec(-3..4_i64, 3), 0..5), columns in 1..=3_usize,
    ) {
        cuts.iter_mut().for_each(|cut| cut.truncate(columns));
        cuts.sort();
        cuts.dedup();
        let key = &key[..columns];
        let scan = scan(columns);
        let bounds: Vec<Vec<String>> = cuts
            .iter()
            .map(|cut| {
                let texts: Vec<String> = cut.iter().map(i64::to_string).collect();
                scan.bound(&texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
            })
            .collect();
        let ends = bounds.iter().map(Some).chain([None]);
        let begins = [None].into_iter().chain(bounds.iter().map(Some));
        let found = begins.zip(ends).filter(|(after, up_to)| holds(&scan.page(&["x".to_owned()], *after, *up_to, 1), key));
        prop_assert_eq!(found.count(), 1);
        for cut in &cuts {
            let names: Vec<String> = (0..columns).map(|at| format!("`c{at}`")).collect();
            let literals: Vec<String> = cut.iter().map(i64::to_string).collect();
            let sql = format!("SELECT x FROM t WHERE {} ORDER BY", behind(&names, &literals));
            prop_assert_eq!(holds(&sql, key), key > cut.as_slice());
        }
    }

    #[test]
    fn a_key_of_another_width_is_no_bound(columns in 1..=3_usize, values in 0..5_usize) {
        let bound = scan(columns).bound(&vec!["1"; values]);
        prop_assert_eq!(bound.is_ok(), columns == values);
    }
}

fn scan(columns: usize) -> Scan {
    let column = |at: usize| Column {
        name: Ident::parse(&format!("c{at}")).unwrap(),
        column_type: "int".to_owned(),
        kind: Kind::Integer,
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
    Scan::new("`t`", None, (0..columns).map(column).collect())
}

/// Whether the condition of a statement holds for a key: as much of SQL as these statements are made of.
fn holds(sql: &str, key: &[i64]) -> bool {
    let Some((_, condition)) = sql.split_once(" WHERE ") else {
        return true;
    };
    let condition = condition.split(" ORDER BY").next().unwrap();
    let mut tokens: Vec<String> = condition
        .replace('(', " ( ")
        .replace(')', " ) ")
        .split_whitespace()
        .rev()
        .map(str::to_owned)
        .collect();
    let value = any_of(&mut tokens, key);
    assert!(tokens.is_empty(), "{condition}");
    value
}

fn any_of(tokens: &mut Vec<String>, key: &[i64]) -> bool {
    let mut value = all_of(tokens, key);
    while tokens.last().is_some_and(|token| token == "OR") {
        tokens.pop();
        value |= all_of(tokens, key);
    }
    value
}

fn all_of(tokens: &mut Vec<String>, key: &[i64]) -> bool {
    let mut value = term(tokens, key);
    while tokens.last().is_some_and(|token| token == "AND") {
        tokens.pop();
        value &= term(tokens, key);
    }
    value
}

fn term(tokens: &mut Vec<String>, key: &[i64]) -> bool {
    let name = tokens.pop().unwrap();
    if name == "(" {
        let value = any_of(tokens, key);
        assert_eq!(tokens.pop().as_deref(), Some(")"));
        return value;
    }
    let column: usize = name.trim_matches(['`', 'c']).parse().unwrap();
    let (sign, number) = (tokens.pop().unwrap(), tokens.pop().unwrap());
    let number: i64 = number.parse().unwrap();
    let ordering = key[column].cmp(&number);
    match sign.as_str() {
        "=" => ordering.is_eq(),
        ">" => ordering.is_gt(),
        ">=" => ordering.is_ge(),
        "<" => ordering.is_lt(),
        "<=" => ordering.is_le(),
        _ => panic!("{sign}"),
    }
}
