//! What kinds of value there are, how each is read, and in which order rows of one stamp come.

use serde::{Deserialize, Serialize};

use crate::table::Column;

/// What kind of value a column holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// TINYINT to BIGINT, signed or not.
    Integer,
    /// DECIMAL.
    Decimal,
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// BIT.
    Bit,
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// TIME.
    Time,
    /// DATETIME.
    DateTime,
    /// TIMESTAMP.
    Timestamp,
    /// CHAR: trailing spaces are not part of the value.
    Char,
    /// VARCHAR and the TEXT types.
    Text,
    /// ENUM.
    Enum,
    /// SET.
    Set,
    /// MySQL's JSON, which the server normalises.
    Json,
    /// BINARY: padded with NULs to its length.
    FixedBinary,
    /// VARBINARY, the BLOB types, VECTOR.
    Binary,
    /// Every spatial type.
    Geometry,
    /// Any other type, by its text: MariaDB's UUID and INET types.
    Other,
}

/// Character sets whose every value has a Unicode form, and only one. MariaDB lets bytes into
/// ascii that are not; UTF-16 and its kin hold lone surrogates.
const UNICODE: [&str; 4] = ["utf8mb4", "utf8mb3", "utf8", "latin1"];

impl Kind {
    /// The kind of a column from its DATA_TYPE in information_schema.
    #[must_use]
    pub fn of(data_type: &str) -> Self {
        match data_type.to_ascii_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => Self::Integer,
            "decimal" => Self::Decimal,
            "float" => Self::Float,
            "double" => Self::Double,
            "bit" => Self::Bit,
            "year" => Self::Year,
            "date" => Self::Date,
            "time" => Self::Time,
            "datetime" => Self::DateTime,
            "timestamp" => Self::Timestamp,
            "char" => Self::Char,
            "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Self::Text,
            "enum" => Self::Enum,
            "set" => Self::Set,
            "json" => Self::Json,
            "binary" => Self::FixedBinary,
            "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => {
                Self::Binary
            }
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geomcollection" | "geometrycollection" => Self::Geometry,
            _ => Self::Other,
        }
    }

    /// Whether the servers of both flavours order such values alike, whatever their collations.
    pub(crate) fn orders_alike(self) -> bool {
        matches!(
            self,
            Self::Integer
                | Self::Decimal
                | Self::Double
                | Self::Bit
                | Self::Year
                | Self::Date
                | Self::Time
                | Self::DateTime
                | Self::Timestamp
                | Self::FixedBinary
                | Self::Binary
        )
    }
}

impl Column {
    /// The expression that reads this column so that [`Kind::encode`] loses nothing.
    #[must_use]
    pub fn select(&self) -> String {
        let name = &self.name;
        match self.kind {
            // The text of a FLOAT is rounded by the server; that of the equal DOUBLE is not. And
            // the text of a DOUBLE(10,2) is what it shows, not always what it holds.
            Kind::Float | Kind::Double => format!("CAST({name} AS DOUBLE)"),
            _ => match self.tagged_charset() {
                Some(charset) => {
                    // MariaDB takes lone surrogates of UCS-2 through UTF-8 and back; UTF-16 has none.
                    let text = match charset {
                        "ucs2" => format!("CONVERT({name} USING utf16)"),
                        _ => name.to_string(),
                    };
                    format!(
                        "IF({name} IS NULL,NULL,COALESCE(IF(CAST(CONVERT(CONVERT({text} USING \
                         utf8mb4) USING {charset}) AS BINARY)=CAST({name} AS BINARY),\
                         CONCAT('t',CONVERT({name} USING utf8mb4)),CONCAT('b',HEX({name}))),'x'))"
                    )
                }
                None => name.to_string(),
            },
        }
    }

    /// Whether [`Column::select`] puts a tag in front of the value: `t` and its Unicode text, or
    /// `b` and its bytes in hexadecimal where it has no exact Unicode form.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        self.tagged_charset().is_some()
    }

    fn tagged_charset(&self) -> Option<&str> {
        let charset = self.charset.as_deref()?;
        (matches!(self.kind, Kind::Char | Kind::Text) && !UNICODE.contains(&charset))
            .then_some(charset)
    }

    /// The expression by which rows of one stamp are ordered, the same order on every server of
    /// both flavours: text by its UTF-8 bytes, since collations and ENUM positions may differ
    /// between source and destination.
    #[must_use]
    pub fn order(&self) -> String {
        let name = &self.name;
        if self.kind.orders_alike() {
            name.to_string()
        } else if self.kind == Kind::Float {
            format!("CAST({name} AS DOUBLE)")
        } else {
            format!("CAST(CONVERT({name} USING utf8mb4) AS BINARY)")
        }
    }

    /// Whether [`Column::order`] is what an index on the column is in the order of.
    #[must_use]
    pub fn orders_by_index(&self) -> bool {
        self.kind.orders_alike()
    }
}
