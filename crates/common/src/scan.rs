//! Statements that read a table in the order of its key, a bounded page at a time.
//!
//! Both sides read their tables this way when keys are compared. Each page goes on behind the last
//! key of the page before, so that no view of the table stays open and no key is left out: a
//! row that stays keeps its place.

use crate::ident::Ident;
use crate::kind::Kind;
use crate::table::Column;
use crate::wire::KindError;

/// How many values of an ENUM or a SET are listed at most.
const MAX_LISTED: u64 = 1000;

/// A table that is read in the order of its key.
///
/// The order is the server's own, which its index has. Where every key column's values sort alike on
/// every server ([`Scan::sorts_alike`]), two servers can be asked for the same range.
#[derive(Clone, Debug)]
pub struct Scan {
    from: String,
    key: Vec<Column>,
}

/// A key as the literals that the key columns are compared with.
pub type Bound = Vec<String>;

impl Scan {
    /// A scan of the table `from`, a name as SQL has it, along its key of these columns, whose index is
    /// [`Table::index_of`](crate::table::Table::index_of) it.
    #[must_use]
    pub fn new(from: &str, index: Option<&Ident>, key: Vec<Column>) -> Self {
        let index = index.map_or(String::new(), |index| format!(" FORCE INDEX ({index})"));
        Self {
            from: format!("{from}{index}"),
            key,
        }
    }

    /// Whether servers of both flavours have such keys in the same order.
    #[must_use]
    pub fn sorts_alike(&self) -> bool {
        self.key.iter().all(|column| column.kind.orders_alike())
    }

    /// What has to be selected, behind everything else, for [`Scan::bound_of`].
    #[must_use]
    pub fn cursor(&self) -> Vec<String> {
        // ENUM and SET sort by number, and a comparison with their text would not.
        let by_number = self.key.iter().filter(|column| is_by_number(column));
        by_number
            .map(|column| format!("CAST({} AS UNSIGNED)", column.name))
            .collect()
    }

    /// The bound at a row's key: its values as [`Column::select`] reads them, and those of
    /// [`Scan::cursor`].
    ///
    /// # Errors
    /// When a value is not of its column's kind.
    pub fn bound_of<'a>(
        &self,
        key: impl IntoIterator<Item = Option<&'a [u8]>>,
        cursor: impl IntoIterator<Item = Option<&'a [u8]>>,
    ) -> Result<Bound, KindError> {
        let mut cursor = cursor.into_iter();
        let literal = |(column, value): (&Column, Option<&[u8]>)| {
            if is_by_number(column) {
                let number = cursor.next().flatten();
                let mut wire = Vec::new();
                Kind::Integer.encode(number, false, &mut wire)?;
                return Ok(String::from_utf8_lossy(&wire).into_owned());
            }
            let mut wire = Vec::new();
            column.kind.encode(value, column.is_tagged(), &mut wire)?;
            own_literal(column, &String::from_utf8_lossy(&wire))
        };
        self.key.iter().zip(key).map(literal).collect()
    }

    /// The bound at a key that is given by the wire forms of its values; only where keys sort alike.
    ///
    /// # Errors
    /// When a value is not of its column's kind, or there are more or fewer than columns.
    pub fn bound(&self, key: &[&str]) -> Result<Bound, KindError> {
        if let Some(more) = key.get(self.key.len()) {
            return Err(KindError::new(Kind::Other, more));
        }
        let literal = |(at, column): (usize, &Column)| match key.get(at) {
            Some(wire) => column.kind.order_literal(wire),
            None => Err(KindError::new(column.kind, "nothing")),
        };
        self.key.iter().enumerate().map(literal).collect()
    }

    /// Reads the rows behind `after`, up to and with `up_to`, in the order of their keys; at most
    /// `limit`.
    #[must_use]
    pub fn page(
        &self,
        columns: &[String],
        after: Option<&Bound>,
        up_to: Option<&Bound>,
        limit: u64,
    ) -> String {
        let names = self.key.iter().map(|column| column.name.to_string());
        let key: Vec<String> = names.collect();
        let bounded = |bound: &Bound, signs| {
            let side = |at: usize, sign: &str| side(&self.key[at], sign, &bound[at]);
            compared(&key, signs, side)
        };
        let bounds = [
            after.map(|bound| bounded(bound, (">=", ">", ">"))),
            up_to.map(|bound| bounded(bound, ("<=", "<", "<="))),
        ];
        let conditions: Vec<String> = bounds.into_iter().flatten().collect();
        let condition = match conditions.as_slice() {
            [] => String::new(),
            conditions => format!(" WHERE {}", conditions.join(" AND ")),
        };
        format!(
            "SELECT {} FROM {}{condition} ORDER BY {} LIMIT {limit}",
            columns.join(", "),
            self.from,
            key.join(", ")
        )
    }
}

/// The condition that a key, column by column, is greater than these literals.
///
/// In front stands what follows from it for the first column alone: with it the optimisers enter
/// an index there.
#[must_use]
pub fn behind(order: &[String], literals: &[String]) -> String {
    let side = |at: usize, sign: &str| format!("{} {sign} {}", order[at], literals[at]);
    compared(order, (">=", ">", ">"), side)
}

/// Spelled out: the optimisers do not enter an index by `(a, b) > (x, y)`. The signs are those of what
/// follows for the first column, of a column, and of the last one; `side` compares a column.
fn compared(
    order: &[String],
    (follows, sign, last): (&str, &str, &str),
    side: impl Fn(usize, &str) -> String,
) -> String {
    let mut alternatives = Vec::new();
    for at in 0..order.len() {
        let mut terms: Vec<String> = (0..at).map(|at| side(at, "=")).collect();
        let sign = match at + 1 == order.len() {
            true => last,
            false => sign,
        };
        terms.push(side(at, sign));
        alternatives.push(format!("({})", terms.join(" AND ")));
    }
    let alternatives = alternatives.join(" OR ");
    match order {
        [_, _, ..] => format!("{} AND ({alternatives})", side(0, follows)),
        _ => format!("({alternatives})"),
    }
}

/// A column on one side of a literal. ENUM and SET are entered by single values alone: for `>` both
/// optimisers would read an index from its beginning.
fn side(column: &Column, sign: &str, literal: &str) -> String {
    let name = &column.name;
    let (true, Ok(number)) = (is_by_number(column), literal.parse::<u64>()) else {
        return format!("{name} {sign} {literal}");
    };
    let members = members(&column.column_type);
    let greatest = match column.kind {
        Kind::Set => 1_u64.checked_shl(members).map(|values| values - 1),
        _ => Some(u64::from(members)),
    };
    let Some(greatest) = greatest.filter(|greatest| *greatest < MAX_LISTED) else {
        // A SET of 64 members would be compared as a signed number.
        return format!("CAST({name} AS UNSIGNED) {sign} {literal}");
    };
    let holds = |value: &u64| match sign {
        ">" => *value > number,
        ">=" => *value >= number,
        "<" => *value < number,
        "<=" => *value <= number,
        _ => *value == number,
    };
    // A value behind ENUM's last: where a single one is left, both optimisers would sort its rows.
    let listed = (0..=greatest + u64::from(column.kind == Kind::Enum))
        .filter(holds)
        .map(|value| value.to_string());
    let listed: Vec<String> = listed.collect();
    match listed.as_slice() {
        [] => "FALSE".to_owned(),
        listed => format!("{name} IN ({})", listed.join(",")),
    }
}

/// How many members the type of an ENUM or a SET has.
fn members(column_type: &str) -> u32 {
    let (mut inside, mut members) = (false, 0);
    for byte in column_type.bytes() {
        match byte {
            // A quote in a member is doubled, which ends it and begins it again.
            b'\'' => inside = !inside,
            b'(' | b',' if !inside => members += 1,
            _ => {}
        }
    }
    members
}

fn is_by_number(column: &Column) -> bool {
    matches!(column.kind, Kind::Enum | Kind::Set)
}

/// The condition that a column equals a wire value in its own order, which its index has. Text that a
/// collation holds equal meets it too.
///
/// # Errors
/// When the value is not of the column's kind.
pub fn equals(column: &Column, wire: &str) -> Result<String, KindError> {
    Ok(format!("{} = {}", column.name, own_literal(column, wire)?))
}

/// The literal that a column is compared with in its own order.
fn own_literal(column: &Column, wire: &str) -> Result<String, KindError> {
    if column.kind.orders_alike() || column.kind == Kind::Float {
        return column.kind.order_literal(wire);
    }
    let mut text = Vec::new();
    let (Some(charset), Some(collation)) = (&column.charset, &column.collation) else {
        column.kind.literal(wire, false, &mut text)?;
        return Ok(String::from_utf8_lossy(&text).into_owned());
    };
    // The bytes of text that has no Unicode form stand for themselves.
    column.kind.literal(wire, true, &mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(match text.strip_prefix("_binary ") {
        Some(bytes) => format!("_{charset} {bytes} COLLATE {collation}"),
        None => format!("CONVERT({text} USING {charset}) COLLATE {collation}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enum_is_entered_by_its_values() {
        let of = |kind, column_type: &str| Column {
            column_type: column_type.to_owned(),
            ..column("e", kind, None)
        };
        let letters = "enum('a','b,(c','d''e')";
        let many = format!("enum({})", vec!["'x'"; 2000].join(","));
        for (column, sign, number, condition) in [
            (of(Kind::Enum, letters), ">", "1", "`e` IN (2,3,4)"),
            (of(Kind::Enum, letters), ">=", "1", "`e` IN (1,2,3,4)"),
            (of(Kind::Enum, letters), ">", "3", "`e` IN (4)"),
            (of(Kind::Enum, letters), "=", "3", "`e` IN (3)"),
            (of(Kind::Enum, letters), "<", "1", "`e` IN (0)"),
            (of(Kind::Enum, letters), "<", "0", "FALSE"),
            (of(Kind::Enum, letters), "<=", "1", "`e` IN (0,1)"),
            (of(Kind::Set, "set('a','b')"), ">", "1", "`e` IN (2,3)"),
            (of(Kind::Enum, &many), ">", "1", "CAST(`e` AS UNSIGNED) > 1"),
            (of(Kind::Set, &many), "=", "1", "CAST(`e` AS UNSIGNED) = 1"),
            (of(Kind::Integer, "int(11)"), ">", "1", "`e` > 1"),
        ] {
            assert_eq!(
                side(&column, sign, number),
                condition,
                "{}",
                column.column_type
            );
        }
    }

    fn column(name: &str, kind: Kind, charset: Option<(&str, &str)>) -> Column {
        Column {
            name: Ident::parse(name).unwrap(),
            column_type: String::new(),
            kind,
            charset: charset.map(|(charset, _)| charset.to_owned()),
            collation: charset.map(|(_, collation)| collation.to_owned()),
            max_length: None,
            scale: 0,
            nullable: false,
            has_default: false,
            generated: false,
            initialised: false,
            on_update: false,
        }
    }

    fn scan(columns: Vec<Column>) -> Scan {
        let index = Ident::parse("PRIMARY").unwrap();
        Scan::new("`t`", Some(&index), columns)
    }

    #[test]
    fn a_greater_key_is_spelled_out() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let values = ["1", "2", "3"].map(str::to_owned);
        for (columns, condition) in [
            (1, "((a > 1))"),
            (2, "a >= 1 AND ((a > 1) OR (a = 1 AND b > 2))"),
            (
                3,
                "a >= 1 AND ((a > 1) OR (a = 1 AND b > 2) OR (a = 1 AND b = 2 AND c > 3))",
            ),
        ] {
            assert_eq!(behind(&names[..columns], &values[..columns]), condition);
        }
    }

    #[test]
    fn a_page_is_bounded_on_both_sides() {
        let scan = scan(vec![
            column("a", Kind::Integer, None),
            column("b", Kind::Binary, None),
        ]);
        assert!(scan.sorts_alike());
        let after = scan.bound(&["1", "\"AA==\""]).unwrap();
        let up_to = scan.bound(&["7", "\"/w==\""]).unwrap();
        assert_eq!(
            scan.page(&["x".to_owned()], Some(&after), Some(&up_to), 10),
            "SELECT x FROM `t` FORCE INDEX (`PRIMARY`) WHERE `a` >= 1 AND ((`a` > 1) OR (`a` = 1 AND \
             `b` > x'00')) AND `a` <= 7 AND ((`a` < 7) OR (`a` = 7 AND `b` <= x'ff')) \
             ORDER BY `a`, `b` LIMIT 10"
        );
        for wrong in [&["1 OR 1", "\"AA==\""][..], &["1"], &["1", "\"AA==\"", "2"]] {
            assert!(scan.bound(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn text_and_members_are_compared_in_the_servers_own_order() {
        let latin = Some(("latin1", "latin1_swedish_ci"));
        let scan = scan(vec![
            column("s", Kind::Text, latin),
            column("e", Kind::Enum, latin),
            column("u", Kind::Text, Some(("utf16", "utf16_bin"))),
            column("f", Kind::Float, None),
        ]);
        assert!(!scan.sorts_alike());
        assert_eq!(scan.cursor(), ["CAST(`e` AS UNSIGNED)"]);
        let key = [&b"it's"[..], b"member", b"bD800", b"0.5"].map(Some);
        assert_eq!(
            scan.bound_of(key, [Some(&b"3"[..])]).unwrap(),
            [
                "CONVERT('it''s' USING latin1) COLLATE latin1_swedish_ci",
                "3",
                "_utf16 x'd800' COLLATE utf16_bin",
                "0.5e0",
            ]
        );
    }
}
