//! Names in which a star stands for any characters.

use std::fmt;

use common::ident::Ident;

/// A name in which `*` stands for any characters, or none.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Pattern(String);

impl Pattern {
    pub(crate) fn new(pattern: String) -> Self {
        Self(pattern)
    }

    /// Whether a name is like it.
    pub(crate) fn is(&self, name: &Ident) -> bool {
        is_like(&self.0, name.as_str())
    }

    /// Whether a name is like it but for the case of letters.
    pub(crate) fn is_in_any_case(&self, name: &Ident) -> bool {
        is_like(&self.0.to_lowercase(), &name.as_str().to_lowercase())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Whether a name is like a pattern. The first piece has to begin the name, the last to end it, and the others
/// follow each other at the first place they are found.
fn is_like(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*') {
        match name.split_once(piece) {
            Some((_, behind)) => name = behind,
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, like) in [
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("*", "", true),
            ("order*", "orders", true),
            ("order*", "order", true),
            ("*_log", "a_log_log", true),
            ("*_log", "_logs", false),
            ("a*b*c", "a_b_b_c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("**a**", "bab", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(is_like(pattern, name), like, "{pattern} {name}");
        }
    }
}
