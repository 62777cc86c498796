//! As much of SQL's grammar as tells what a running SELECT reads; pure.

/// Calls that only wait, or only answer what is known without a table.
const CALLS: [&str; 8] = [
    "get_lock",
    "release_lock",
    "is_free_lock",
    "is_used_lock",
    "sleep",
    "coalesce",
    "ifnull",
    "connection_id",
];

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    /// A name in backticks.
    Name(String),
    Literal,
    Sign(char),
}

/// Further calls that read nothing but their arguments, and words that a parenthesis may follow.
const HARMLESS: [&str; 36] = [
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "concat",
    "hex",
    "length",
    "char_length",
    "lower",
    "upper",
    "left",
    "right",
    "trim",
    "substring",
    "replace",
    "round",
    "abs",
    "if",
    "nullif",
    "cast",
    "convert",
    "date",
    "now",
    "unix_timestamp",
    "from_unixtime",
    "in",
    "and",
    "or",
    "not",
    "where",
    "when",
    "then",
    "else",
    "by",
    "distinct",
];

/// Those of them that are a stored function's name where white space parts them from their parenthesis, unless
/// sql_mode has IGNORE_SPACE.
const TOUCHING: [&str; 8] = [
    "cast",
    "count",
    "max",
    "min",
    "now",
    "substring",
    "sum",
    "trim",
];

/// Words that lead to a second table, or away from reading.
const MORE: [&str; 9] = [
    "select",
    "from",
    "join",
    "union",
    "intersect",
    "except",
    "into",
    "table",
    "values",
];

/// Words that end the list of tables.
const CLAUSES: [&str; 8] = [
    "where",
    "group",
    "having",
    "order",
    "limit",
    "for",
    "lock",
    "procedure",
];

/// The table of a SELECT that reads this one alone and calls nothing but functions of the server's
/// own; with its database if that is named too.
pub(crate) fn only_table(text: &str) -> Option<(Option<String>, String)> {
    let tokens = tokens(text)?;
    if !is_word(tokens.first()?, "select") {
        return None;
    }
    let from = tokens.iter().position(|token| is_word(token, "from"))?;
    let one_of = |words: &[&str], token: &Token| words.iter().any(|word| is_word(token, word));
    for (at, token) in tokens.iter().enumerate().skip(1) {
        let called = tokens.get(at + 1) == Some(&Token::Sign('('));
        match token {
            Token::Sign(';' | '@') => return None,
            // Under ANSI_QUOTES what is in double quotes is a name.
            Token::Name(_) | Token::Literal if called => return None,
            // A function of a schema is a stored one, whatever its name.
            Token::Word(_) if called && tokens[at - 1] == Token::Sign('.') => return None,
            word if at != from && one_of(&MORE, word) => return None,
            word @ Token::Word(_)
                if called && !one_of(&CALLS, word) && !one_of(&HARMLESS, word) =>
            {
                return None;
            }
            _ => {}
        }
    }
    let mut rest = tokens[from + 1..].iter().peekable();
    let first = name(rest.next()?)?;
    let named = if rest.next_if_eq(&&Token::Sign('.')).is_some() {
        (Some(first), name(rest.next()?)?)
    } else {
        (None, first)
    };
    let listed = rest.take_while(|token| !one_of(&CLAUSES, token));
    let mut more = listed.filter(|token| matches!(token, Token::Sign(',' | '(')));
    more.next().is_none().then_some(named)
}

/// The functions that a SELECT or DO calls, if these are nothing but harmless ones of the server's
/// own, and it reads no table.
pub(crate) fn only_calls(text: &str) -> Option<Vec<String>> {
    let tokens = tokens(text)?;
    let first = tokens.first()?;
    if !is_word(first, "select") && !is_word(first, "do") {
        return None;
    }
    let mut calls = Vec::new();
    for (at, token) in tokens.iter().enumerate().skip(1) {
        match token {
            Token::Sign('.' | ';' | '@') => return None,
            Token::Word(word) if word.eq_ignore_ascii_case("from") => return None,
            Token::Word(word) if tokens.get(at + 1) == Some(&Token::Sign('(')) => {
                let call = word.to_ascii_lowercase();
                if !CALLS.contains(&call.as_str()) {
                    return None;
                }
                calls.push(call);
            }
            Token::Name(_) | Token::Literal if tokens.get(at + 1) == Some(&Token::Sign('(')) => {
                return None;
            }
            _ => {}
        }
    }
    (!calls.is_empty()).then_some(calls)
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(text) if text.eq_ignore_ascii_case(word))
}

fn name(token: &Token) -> Option<String> {
    match token {
        Token::Word(text) | Token::Name(text) => Some(text.clone()),
        _ => None,
    }
}

/// What a comment may hold although servers execute it: dumps have it.
const EXECUTED: &str = "SQL_NO_CACHE";

/// The tokens of a text; none where a quote or a comment does not end, or where it depends on the
/// session's sql_mode or on the server's version what is in one.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, sign)) = rest.next() {
        let next = rest.peek().map(|(_, next)| *next);
        match sign {
            // Other white space is part of a name.
            _ if sign.is_ascii_whitespace() => {}
            '/' if next == Some('*') => {
                let end = text[at + 2..].find("*/")? + at + 4;
                if let Some(executed) = executed(&text[at + 2..end - 2])
                    && !executed.eq_ignore_ascii_case(EXECUTED)
                {
                    return None;
                }
                while rest.next_if(|(at, _)| *at < end).is_some() {}
            }
            '#' => while rest.next_if(|(_, sign)| *sign != '\n').is_some() {},
            '-' if begins_comment(&text[at..]) => {
                while rest.next_if(|(_, sign)| *sign != '\n').is_some() {}
            }
            '\'' | '"' => {
                loop {
                    let (_, inner) = rest.next()?;
                    // An escape, or itself under NO_BACKSLASH_ESCAPES.
                    if inner == '\\' {
                        return None;
                    }
                    if inner == sign {
                        break;
                    }
                }
                tokens.push(Token::Literal);
            }
            '`' => {
                let mut name = String::new();
                loop {
                    let (_, inner) = rest.next()?;
                    if inner != '`' {
                        name.push(inner);
                    } else if rest.next_if(|(_, sign)| *sign == '`').is_some() {
                        name.push('`');
                    } else {
                        break;
                    }
                }
                tokens.push(Token::Name(name));
            }
            _ if sign.is_ascii_digit() => {
                let digit = |(_, sign): &(usize, char)| sign.is_ascii_digit() || *sign == '.';
                while rest.next_if(digit).is_some() {}
                // A name may begin with digits.
                let mut word = None;
                while rest
                    .next_if(|(_, sign)| is_name(*sign) || *sign == '.')
                    .is_some()
                {
                    word = Some(Token::Word("number".to_owned()));
                }
                tokens.push(word.unwrap_or(Token::Literal));
            }
            _ if is_name(sign) => {
                let mut word = sign.to_string();
                while let Some((_, sign)) = rest.next_if(|(_, sign)| is_name(*sign)) {
                    word.push(sign);
                }
                tokens.push(Token::Word(word));
            }
            '(' if !text[..at].ends_with(is_name)
                && let Some(last) = tokens.last()
                && TOUCHING.iter().any(|word| is_word(last, word)) =>
            {
                return None;
            }
            _ => tokens.push(Token::Sign(sign)),
        }
    }
    Some(tokens)
}

/// What is in a comment that servers execute, behind the version from which on they do.
fn executed(comment: &str) -> Option<&str> {
    let inner = comment.strip_prefix('M').unwrap_or(comment);
    let inner = inner.strip_prefix('!')?;
    Some(
        inner
            .trim_start_matches(|sign: char| sign.is_ascii_digit())
            .trim(),
    )
}

/// Whether a text begins with a comment that goes up to the end of the line.
fn begins_comment(text: &str) -> bool {
    text.strip_prefix("--").is_some_and(|rest| {
        rest.chars()
            .next()
            .is_none_or(|sign| sign == ' ' || sign.is_ascii_control())
    })
}

fn is_name(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_' || sign == '$' || sign > '\u{7f}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_table_of_a_select() {
        for (text, expected) in [
            ("SELECT * FROM t", Some((None, "t"))),
            (
                "select /*!40001 SQL_NO_CACHE */ * FROM `a``b`",
                Some((None, "a`b")),
            ),
            (
                "SELECT a FROM `shop`.`order lines` WHERE x=1",
                Some((Some("shop"), "order lines")),
            ),
            (
                "SELECT a, SLEEP(1) FROM t o WHERE (x) IN (1, 2) ORDER BY a, b",
                Some((None, "t")),
            ),
            ("SELECT 1 -- from x\nFROM t", Some((None, "t"))),
            ("SELECT 'it''s', \"a from b\" FROM t", Some((None, "t"))),
            ("SELECT 1 --\t'from x\nFROM t --", Some((None, "t"))),
            ("SELECT '\\'' FROM t", None),
            ("SELECT 1 /*! , f() */ FROM t", None),
            ("SELECT \"f\"(1) FROM t", None),
            ("SELECT 1sum(a), 1e5 FROM t", None),
            ("SELECT 0x1F, 1e5 FROM t", Some((None, "t"))),
            ("SELECT sum\u{a0}(a) FROM t", None),
            ("SELECT a FROM t, u", None),
            ("SELECT a FROM t x JOIN u", None),
            ("SELECT f(a) FROM t", None),
            ("SELECT COUNT(a), left (a, 1) FROM t", Some((None, "t"))),
            ("SELECT COUNT (a) FROM t", None),
            ("SELECT `sleep`(a) FROM t", None),
            ("SELECT shop.sleep(a) FROM t", None),
            ("SELECT (SELECT 1 FROM u) FROM t", None),
            ("SELECT 1 FROM t UNION SELECT 2 FROM u", None),
            ("SELECT * FROM (SELECT 1) x", None),
            (
                "SELECT * FROM json_table('[]', '$' columns (a int path '$')) x",
                None,
            ),
            ("SELECT @a := 1 FROM t", None),
            ("SELECT f()", None),
            ("UPDATE t SET a=1", None),
            ("EXECUTE IMMEDIATE 'select 1 from t'", None),
            ("SELECT 'unfinished FROM t", None),
            ("", None),
        ] {
            let found = only_table(text);
            let found = found
                .as_ref()
                .map(|(db, table)| (db.as_deref(), table.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_statement_of_harmless_calls_only() {
        for (text, harmless) in [
            ("SELECT GET_LOCK('job', 3600)", true),
            ("do sleep(10)", true),
            ("SELECT COALESCE(GET_LOCK('job', 3600), 0) AS got", true),
            ("SELECT f()", false),
            ("SELECT sleep(10), f()", false),
            ("SELECT sleep(10) /*!, f() */", false),
            ("SELECT sleep(10) /*M!100100 , f()*/", false),
            ("SELECT /*!40001 SQL_NO_CACHE */ /* f() */ sleep(10)", true),
            ("SELECT sleep(10) --\t'\n, f() -- '", false),
            ("SELECT sleep(10), '\\'', f(), /* ' */ 1", false),
            ("SELECT sleep(10), \"f\"()", false),
            ("SELECT sleep(10), 1sleep(1)", false),
            ("SELECT sleep\u{3000}(10)", false),
            ("SELECT shop.sleep(10)", false),
            ("SELECT `sleep`(10)", false),
            ("SELECT sleep(10) FROM t", false),
            ("SELECT (SELECT sleep(1) FROM t)", false),
            ("SELECT 1", false),
            ("UPDATE t SET a=sleep(1)", false),
            ("SELECT sleep(1); UPDATE t SET a=1", false),
        ] {
            assert_eq!(only_calls(text).is_some(), harmless, "{text}");
        }
    }
}
