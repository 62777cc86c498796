//! The words of a CREATE TABLE statement, split so that quotes, parentheses and comments stay
//! whole; pure.
//!
//! Knows the text of a session whose sql_mode has neither NO_BACKSLASH_ESCAPES nor ANSI_QUOTES,
//! which is how SHOW CREATE TABLE writes.

/// How deep parentheses may be nested: further than anybody nests an expression, and not so far that what
/// looks into each pair would need a larger stack.
const MAX_DEPTH: u32 = 500;

/// A piece of a statement that is not looked into any further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// A keyword, a function's name or a number.
    Word,
    /// `'…'` or `"…"`.
    Text,
    /// A name in back quotes.
    Name,
    /// A pair of parentheses and what is between them.
    Group,
    /// `/*…*/`, which a server may run.
    Comment,
    /// Any other sign.
    Sign,
}

/// A piece and the white space before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Token {
    pub(crate) form: Form,
    pub(crate) text: String,
    gap: String,
}

impl Token {
    /// A keyword, with a space before it.
    pub(crate) fn word(text: &str) -> Self {
        Self {
            form: Form::Word,
            text: text.to_owned(),
            gap: " ".to_owned(),
        }
    }

    /// Whether it is this keyword.
    pub(crate) fn is(&self, word: &str) -> bool {
        self.form == Form::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether nothing parts it from the token before.
    pub(crate) fn touches(&self) -> bool {
        self.gap.is_empty()
    }

    /// It in parentheses of its own.
    pub(crate) fn grouped(tokens: &[Self]) -> Self {
        Self {
            form: Form::Group,
            text: format!("({})", join(tokens)),
            gap: " ".to_owned(),
        }
    }

    /// What is between the parentheses, or in the comment behind its version; else nothing.
    pub(crate) fn inner(&self) -> Vec<Self> {
        let inner = match self.form {
            Form::Group => &self.text[1..self.text.len() - 1],
            Form::Comment => self.text[..self.text.len() - 2]
                .trim_start_matches(['/', '*', 'M', '!'])
                .trim_start_matches(|sign: char| sign.is_ascii_digit()),
            _ => "",
        };
        split(inner).unwrap_or_default()
    }

    /// Whether this keyword is in it, at whatever depth.
    pub(crate) fn holds(&self, word: &str) -> bool {
        // Every word is in the text; most tokens need no splitting to see that it is not.
        let within = self.text.to_ascii_lowercase();
        self.is(word)
            || within.contains(&word.to_ascii_lowercase())
                && self.inner().iter().any(|token| token.holds(word))
    }
}

/// The tokens of a text; none where a quote, a parenthesis or a comment does not end, or where
/// something stands in it that no definition has: a `;`, or a comment up to the end of the line.
pub(crate) fn split(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.len() - rest.trim_start().len();
        let (gap, behind) = rest.split_at(start);
        if behind.is_empty() {
            return Some(tokens);
        }
        let (form, length) = first(behind)?;
        let (text, behind) = behind.split_at(length);
        tokens.push(Token {
            form,
            text: text.to_owned(),
            gap: gap.to_owned(),
        });
        rest = behind;
    }
}

/// The tokens as text again.
pub(crate) fn join(tokens: &[Token]) -> String {
    let text: String = tokens
        .iter()
        .flat_map(|token| [token.gap.as_str(), token.text.as_str()])
        .collect();
    text.trim_start().to_owned()
}

/// The tokens without the introducer of a character set (`_utf8mb4`) before any text, at whatever
/// depth.
pub(crate) fn without_introducer(tokens: &[Token], introducer: &str) -> Vec<Token> {
    let mut kept: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let mut token = token.clone();
        match token.form {
            Form::Group => {
                let inner = without_introducer(&token.inner(), introducer);
                token.text = format!("({})", join(&inner));
            }
            Form::Text if kept.last().is_some_and(|last| last.is(introducer)) => {
                token.gap = kept.pop().map_or_else(String::new, |last| last.gap);
            }
            _ => {}
        }
        kept.push(token);
    }
    kept
}

/// The parts between the commas.
pub(crate) fn parts(tokens: &[Token]) -> impl Iterator<Item = &[Token]> {
    tokens.split(|token| token.form == Form::Sign && token.text == ",")
}

/// The form and the length of the token that a text begins with.
fn first(text: &str) -> Option<(Form, usize)> {
    let mut chars = text.chars();
    let sign = chars.next()?;
    match sign {
        '\'' | '"' => Some((Form::Text, quoted(text)?)),
        '`' => Some((Form::Name, quoted(text)?)),
        '(' => Some((Form::Group, closed(text, 1, ")")?)),
        '/' if text.starts_with("/*!") || text.starts_with("/*M!") => {
            Some((Form::Comment, closed(text, 3, "*/")?))
        }
        '/' if text.starts_with("/*") => Some((Form::Comment, text.get(2..)?.find("*/")? + 4)),
        ')' | ';' | '#' => None,
        '*' if text.starts_with("*/") => None,
        '-' if text.starts_with("--") && text[2..].starts_with(|sign: char| sign <= ' ') => None,
        _ if is_word(sign) => {
            let length = text.find(|sign| !is_word(sign)).unwrap_or(text.len());
            Some((Form::Word, length))
        }
        _ => Some((Form::Sign, sign.len_utf8())),
    }
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || matches!(sign, '_' | '$' | '.' | '@' | ':')
}

/// The length of the quoted text that a text begins with.
fn quoted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = bytes[0];
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'\\' if quote != b'`' => at += 2,
            sign if *sign == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            sign if *sign == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The length up to the end of what a text opens with its first `from` bytes. Parentheses within
/// are counted, not followed.
fn closed(text: &str, from: usize, end: &str) -> Option<usize> {
    let mut depth = 0_u32;
    let mut at = from;
    loop {
        let rest = text.get(at..)?;
        if depth == 0 && rest.starts_with(end) {
            return Some(at + end.len());
        }
        match rest.chars().next()? {
            '(' => {
                depth += 1;
                if depth >= MAX_DEPTH {
                    return None;
                }
                at += 1;
            }
            ')' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            // One comment within another is nothing that a server writes.
            '/' if end == "*/" && rest.starts_with("/*") => return None,
            sign if sign.is_whitespace() => at += sign.len_utf8(),
            _ => at += first(rest)?.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_introducer_goes_only_before_a_text() {
        let text = r"CHECK ((`_utf8mb4` <> _utf8mb4'\'') or f(_utf8mb4 'x', '_utf8mb4'))";
        let tokens = without_introducer(&split(text).unwrap(), "_utf8mb4");
        let expected = r"CHECK ((`_utf8mb4` <> '\'') or f('x', '_utf8mb4'))";
        assert_eq!(join(&tokens), expected);
    }

    fn texts(text: &str) -> Vec<(Form, String)> {
        let tokens = split(text).unwrap();
        assert_eq!(join(&tokens), text.trim());
        tokens
            .into_iter()
            .map(|token| (token.form, token.text))
            .collect()
    }

    #[test]
    fn quotes_parentheses_and_comments_stay_whole() {
        for (text, form) in [
            (r"'it''s \' a \\'", Form::Text),
            ("\"a 'b' \\\" \"\"c\"", Form::Text),
            (r"`a\`", Form::Name),
            ("`a``b (`", Form::Name),
            ("(a, (b), ')', `)`, \"(\", /*! ')' */ c)", Form::Group),
            ("/* it's ( */", Form::Comment),
            ("/*!80016 COMMENT 'a*/b' (c) */", Form::Comment),
            ("/*M!100301 COMPRESSED*/", Form::Comment),
            ("(a--1)", Form::Group),
            ("日本", Form::Word),
        ] {
            assert_eq!(texts(text), [(form, text.to_owned())]);
        }
    }

    #[test]
    fn words_and_signs_are_parted() {
        let found: Vec<String> = texts("`v` enum('a,b') DEFAULT _utf8mb4'x' CHARSET=ucs2, k -1.5")
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            found,
            [
                "`v`", "enum", "('a,b')", "DEFAULT", "_utf8mb4", "'x'", "CHARSET", "=", "ucs2",
                ",", "k", "-", "1.5"
            ]
        );
    }

    #[test]
    fn what_does_not_end_or_is_no_definition_is_refused() {
        for text in [
            "'a",
            r"'a\'",
            "`a",
            "(a",
            "a)",
            "/*! a",
            "/* a",
            "(a; b)",
            "a; b",
            "a # b",
            "a -- b",
            "/*!1 a /* b */ */",
            "(/*!1 ) */)",
            "/*!1 ( */ )",
        ] {
            assert_eq!(split(text), None, "{text}");
        }
        let nested = |depth: usize| format!("{}select{}", "(".repeat(depth), ")".repeat(depth));
        let deepest = split(&nested(MAX_DEPTH as usize)).unwrap();
        assert!(deepest[0].holds("SELECT"));
        assert_eq!(split(&nested(MAX_DEPTH as usize + 1)), None);
        assert_eq!(split(&nested(1_000_000)), None);
    }

    #[test]
    fn a_word_is_found_at_any_depth_but_not_in_quotes() {
        let holds = |text: &str| {
            split(text)
                .unwrap()
                .iter()
                .any(|token| token.holds("SELECT"))
        };
        assert!(holds("a ((x, (select 1)))"));
        assert!(holds("/*!50100 SELECT 1 */"));
        assert!(!holds("'select' `select` selected (`select` 'select')"));
    }
}
