//! Whether a column of the destination can hold what comes for it; pure.
//!
//! R7. What strict mode would let pass changed is refused here, before a row is written: a smaller
//! scale, fewer fractional digits, FLOAT for DOUBLE, padding. What strict mode refuses by itself, a
//! number or a text that is too long, is left to it, since most rows may fit.

use common::kind::Kind;
use common::table::Column;

/// Whether a column of the destination holds every value of one of the source unchanged, or else
/// says so; answers the limit that has to be checked for each value.
pub(crate) fn fit(source: &Column, destination: &Column) -> Result<Option<u64>, String> {
    let cannot = |why: &str| {
        Err(format!(
            "column {} is {} at the source and {} at the destination, which {why}; ALTER the \
             destination's column, or leave it out with --exclude-columns",
            source.name, source.column_type, destination.column_type
        ))
    };
    let (from, to) = (source.kind, destination.kind);
    let texts = [
        Kind::Char,
        Kind::Text,
        Kind::Enum,
        Kind::Set,
        Kind::Json,
        Kind::Other,
    ];
    let widens = match from {
        _ if from == to => true,
        Kind::Integer => to == Kind::Decimal,
        Kind::Float => to == Kind::Double,
        Kind::Enum | Kind::Set | Kind::Json | Kind::Char | Kind::Other => {
            matches!(to, Kind::Text | Kind::Char)
        }
        Kind::FixedBinary => to == Kind::Binary,
        _ => false,
    };
    if !widens {
        return cannot("is another type");
    }
    if matches!(
        to,
        Kind::Decimal | Kind::Time | Kind::DateTime | Kind::Timestamp
    ) && destination.scale < source.scale
    {
        return cannot("would round");
    }
    if matches!(to, Kind::Float | Kind::Double) && source.column_type != destination.column_type {
        let rounds = |column: &Column| column.column_type.contains('(');
        if rounds(destination) {
            return cannot("would round");
        }
    }
    if to == Kind::FixedBinary && destination.max_length != source.max_length {
        return cannot("would pad");
    }
    if texts.contains(&to) {
        let narrower = destination.max_length < source.max_length;
        return Ok(destination.max_length.filter(|_| narrower));
    }
    Ok(None)
}

/// Refuses a key column whose equal values read differently on the two sides: a key is found again
/// by what it reads as.
pub(crate) fn same_text(source: &Column, destination: &Column) -> Result<(), String> {
    let text = |kind| {
        matches!(
            kind,
            Kind::Char | Kind::Text | Kind::Enum | Kind::Set | Kind::Other
        )
    };
    let alike = source.kind == destination.kind && source.scale == destination.scale;
    if alike || (text(source.kind) && text(destination.kind)) {
        return Ok(());
    }
    Err(format!(
        "key column {} is {} at the source and {} at the destination; ALTER the destination's to the \
         same type",
        source.name, source.column_type, destination.column_type
    ))
}

/// R6: refuses a key column at the destination whose collation could hold two keys of the source
/// equal.
pub(crate) fn folds(source: &Column, destination: &Column) -> Result<(), String> {
    let (Some(from), Some(to)) = (&source.collation, &destination.collation) else {
        return Ok(());
    };
    if from == to || to == "binary" {
        return Ok(());
    }
    let bytewise = to.ends_with("_bin");
    // CHAR drops trailing spaces itself, so there is nothing to fold at its end.
    let pads = !to.contains("0900") && !to.contains("nopad") && destination.kind != Kind::Char;
    let source_pads = !from.contains("0900") && !from.contains("nopad");
    if bytewise && (!pads || source_pads) {
        return Ok(());
    }
    Err(format!(
        "key column {} has the collation {from} at the source and {to} at the destination, which \
         may hold equal what the source tells apart; ALTER the destination's column to COLLATE \
         {from}, or to one that compares bytes without padding (utf8mb4_0900_bin on MySQL, \
         utf8mb4_nopad_bin on MariaDB)",
        source.name
    ))
}

#[cfg(test)]
mod tests {
    use common::ident::Ident;

    use super::*;

    fn column(column_type: &str, collation: Option<&str>) -> Column {
        let data_type: String = column_type
            .chars()
            .take_while(|c| c.is_alphabetic())
            .collect();
        let number: Vec<u64> = column_type
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect();
        let kind = Kind::of(&data_type);
        let scale = match kind {
            Kind::Decimal => number.get(1),
            Kind::Time | Kind::DateTime | Kind::Timestamp => number.first(),
            _ => None,
        };
        Column {
            name: Ident::parse("c").unwrap(),
            column_type: column_type.to_owned(),
            kind,
            charset: None,
            collation: collation.map(str::to_owned),
            max_length: number.first().copied(),
            scale: scale.map_or(0, |scale| u8::try_from(*scale).unwrap()),
            nullable: false,
            has_default: false,
            generated: false,
            initialised: false,
            on_update: false,
        }
    }

    #[test]
    fn r7_a_column_that_would_change_values_is_refused() {
        for (source, destination, expected) in [
            ("int", "int", Ok(None)),
            ("int", "bigint", Ok(None)),
            ("bigint", "int", Ok(None)),
            ("int", "decimal(20,0)", Ok(None)),
            ("int", "varchar(20)", Err("another type")),
            ("decimal(10,4)", "decimal(10,2)", Err("round")),
            ("decimal(10,2)", "decimal(10,4)", Ok(None)),
            ("datetime(6)", "datetime(3)", Err("round")),
            ("timestamp(3)", "timestamp(6)", Ok(None)),
            ("timestamp", "datetime", Err("another type")),
            ("double", "float", Err("another type")),
            ("float", "double", Ok(None)),
            ("double", "double(10,2)", Err("round")),
            ("varchar(10)", "varchar(20)", Ok(None)),
            ("varchar(20)", "varchar(10)", Ok(Some(10))),
            ("varchar(10)", "char(10)", Err("another type")),
            ("char(10)", "varchar(10)", Ok(None)),
            ("binary(4)", "binary(8)", Err("pad")),
            ("varbinary(4)", "binary(4)", Err("another type")),
            ("binary(4)", "varbinary(4)", Ok(None)),
            ("varchar(10)", "json", Err("another type")),
            ("json", "longtext", Ok(None)),
        ] {
            let found = fit(&column(source, None), &column(destination, None));
            match (&found, &expected) {
                (Ok(limit), Ok(wanted)) => assert_eq!(limit, wanted, "{source} {destination}"),
                (Err(text), Err(part)) => {
                    assert!(text.contains(part), "{source} {destination}: {text}")
                }
                _ => panic!("{source} {destination}: {found:?}"),
            }
        }
    }

    #[test]
    fn r6_a_key_whose_collation_folds_more_is_refused() {
        for (column_type, source, destination, fine) in [
            (
                "varchar(9)",
                "utf8mb4_0900_ai_ci",
                "utf8mb4_0900_ai_ci",
                true,
            ),
            (
                "varchar(9)",
                "utf8mb4_0900_ai_ci",
                "utf8mb4_nopad_bin",
                true,
            ),
            ("varchar(9)", "utf8mb4_0900_ai_ci", "utf8mb4_bin", false),
            ("char(9)", "utf8mb4_0900_ai_ci", "utf8mb4_bin", true),
            ("varchar(9)", "utf8mb4_general_ci", "utf8mb4_bin", true),
            ("varchar(9)", "utf8mb4_general_ci", "utf8mb4_0900_bin", true),
            ("varchar(9)", "utf8mb4_bin", "utf8mb4_general_ci", false),
            (
                "varchar(9)",
                "utf8mb4_0900_ai_ci",
                "utf8mb4_unicode_520_ci",
                false,
            ),
        ] {
            let found = folds(
                &column(column_type, Some(source)),
                &column(column_type, Some(destination)),
            );
            assert_eq!(found.is_ok(), fine, "{column_type} {source} {destination}");
        }
    }
}
