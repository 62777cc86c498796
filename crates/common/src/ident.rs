//! Names of databases, tables and columns.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name that MySQL and MariaDB allow, in characters.
pub const MAX_CHARS: usize = 64;

/// A MySQL schema, table or column name.
///
/// `Display` is the quoted form. It is the only way a name reaches SQL text, so a name cannot
/// end its own quotes. [`Ident::as_str`] is the plain name, for people and for JSON.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(pattern = "^[\\s\\S]{1,64}$"))]
#[serde(try_from = "String", into = "String")]
pub struct Ident(String);

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentError {
    /// No character at all.
    #[error("a name cannot be empty")]
    Empty,
    /// More than [`MAX_CHARS`] characters.
    #[error("a name has at most {MAX_CHARS} characters")]
    TooLong,
    /// A NUL, which no name of MySQL can hold.
    #[error("a name cannot hold a NUL character")]
    Nul,
    /// A character beyond U+FFFF, which no name of MySQL can hold either.
    #[error("a name cannot hold characters beyond U+FFFF, such as emoji")]
    Supplementary,
}

impl Ident {
    /// Takes a plain, unquoted name.
    ///
    /// # Errors
    /// When neither MySQL nor MariaDB could have a thing of this name.
    pub fn parse(name: &str) -> Result<Self, IdentError> {
        if name.is_empty() {
            Err(IdentError::Empty)
        } else if name.contains('\0') {
            Err(IdentError::Nul)
        } else if name.chars().any(|character| character > '\u{ffff}') {
            Err(IdentError::Supplementary)
        } else if name.chars().count() > MAX_CHARS {
            Err(IdentError::TooLong)
        } else {
            Ok(Self(name.to_owned()))
        }
    }

    /// The plain name, unquoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0.replace('`', "``"))
    }
}

impl std::str::FromStr for Ident {
    type Err = IdentError;

    fn from_str(name: &str) -> Result<Self, IdentError> {
        Self::parse(name)
    }
}

impl TryFrom<String> for Ident {
    type Error = IdentError;

    fn try_from(name: String) -> Result<Self, IdentError> {
        Self::parse(&name)
    }
}

impl From<Ident> for String {
    fn from(name: Ident) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_quotes_itself() {
        for (name, quoted) in [
            ("orders", "`orders`"),
            ("order", "`order`"),
            ("a`b", "`a``b`"),
            ("a b.c/d%e'f\"g\\", "`a b.c/d%e'f\"g\\`"),
            ("日本", "`日本`"),
        ] {
            assert_eq!(Ident::parse(name).unwrap().to_string(), quoted, "{name:?}");
        }
    }

    #[test]
    fn what_no_server_can_hold_is_not_a_name() {
        for (name, error) in [
            (String::new(), IdentError::Empty),
            ("a\0b".to_owned(), IdentError::Nul),
            ("é".repeat(65), IdentError::TooLong),
            ("a😀".to_owned(), IdentError::Supplementary),
        ] {
            assert_eq!(Ident::parse(&name), Err(error), "{name:?}");
        }
        assert!(Ident::parse(&"é".repeat(64)).is_ok());
    }
}
