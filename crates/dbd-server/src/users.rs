//! The users of a file, and what is there for each.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use common::ident::Ident;
use serde::Deserialize;

use crate::password;
use crate::pattern::Pattern;
use crate::viewer::{Part, Viewer};

/// Bytes of a users file at most.
const LONGEST: u64 = 4 << 20;

/// The users of a file.
#[derive(Clone, Debug)]
pub struct Users {
    /// Where they are.
    pub(crate) path: PathBuf,
    /// What it held.
    pub(crate) text: String,
    /// They, by name.
    pub(crate) all: BTreeMap<String, User>,
}

/// What is known of a user.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// The password's hash, in the PHC string format.
    pub(crate) hash: String,
    pub(crate) viewer: Viewer,
}

/// Why there are no users.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// There is no such file, or it is not for this account, or no text.
    #[error("cannot read the users file {path}; give a file of UTF-8 that this account may read")]
    Read {
        /// It.
        path: String,
        /// Why.
        source: io::Error,
    },

    /// What it says cannot be meant.
    #[error("mend line {line} of the users file {path}: {why}")]
    Line {
        /// It.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },

    /// What it says of a user cannot be meant.
    #[error("mend user {name:?} of the users file {path}: {why}")]
    User {
        /// It.
        path: String,
        /// The user's name.
        name: String,
        /// What is wrong.
        why: String,
    },

    /// Nobody could do anything.
    #[error("the users file {path} has no user; add a table [users.NAME] with a password")]
    Nobody {
        /// It.
        path: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    users: BTreeMap<String, WrittenUser>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenUser {
    password: String,
    databases: Option<BTreeMap<String, WrittenPart>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPart {
    tables: Option<Vec<String>>,
    #[serde(default)]
    hidden: BTreeMap<String, Vec<String>>,
}

impl Users {
    /// Those of that file.
    ///
    /// # Errors
    /// When it cannot be read, or does not say who may see what.
    pub fn read(path: &Path) -> Result<Self, UsersError> {
        Self::parse(path, text(path)?)
    }

    /// Those of a text that the file of that path holds.
    pub(crate) fn parse(path: &Path, text: String) -> Result<Self, UsersError> {
        let shown = || path.display().to_string();
        let written: Written = toml::from_str(&text).map_err(|error| {
            // The error's own text would show the line, and with it the hash.
            let before = error.span().and_then(|span| text.get(..span.start));
            UsersError::Line {
                path: shown(),
                line: before.unwrap_or_default().matches('\n').count() + 1,
                why: error.message().replace('\n', " "),
            }
        })?;
        if written.users.is_empty() {
            return Err(UsersError::Nobody { path: shown() });
        }
        let users = written.users.into_iter().map(|(name, written)| {
            let user = user(&name, written).map_err(|why| UsersError::User {
                path: shown(),
                name: name.clone(),
                why,
            })?;
            Ok((name, user))
        });
        Ok(Self {
            path: path.to_owned(),
            all: users.collect::<Result<_, UsersError>>()?,
            text,
        })
    }
}

/// What the file of that path holds now.
pub(crate) fn text(path: &Path) -> Result<String, UsersError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
    let read = read.and_then(|bytes| match bytes as u64 > LONGEST {
        true => Err(io::Error::other(format!(
            "it has more than {LONGEST} bytes"
        ))),
        false => Ok(()),
    });
    read.map(|()| text).map_err(|source| UsersError::Read {
        path: path.display().to_string(),
        source,
    })
}

fn user(name: &str, written: WrittenUser) -> Result<User, String> {
    if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
        return Err("a user name has a character, no colon and no control character".to_owned());
    }
    password::check(&written.password).map_err(|why| format!("password: {why}"))?;
    let viewer = match written.databases {
        None => Viewer::default(),
        Some(databases) => {
            let databases = databases.into_iter().map(|(name, written)| {
                let database = Ident::parse(&name).map_err(|why| format!("{name:?}: {why}"))?;
                Ok((database, part(written)))
            });
            Viewer::of(databases.collect::<Result<_, String>>()?)
        }
    };
    Ok(User {
        hash: written.password,
        viewer,
    })
}

fn part(written: WrittenPart) -> Part {
    let patterns = |names: Vec<String>| names.into_iter().map(Pattern::new).collect();
    let hidden = written.hidden.into_iter();
    Part {
        tables: written.tables.map(patterns),
        hidden: hidden
            .map(|(table, columns)| (Pattern::new(table), patterns(columns)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Users, UsersError> {
        Users::parse(Path::new("/etc/users.toml"), text.to_owned())
    }

    fn hash() -> String {
        password::hash_password(&b"x"[..]).unwrap()
    }

    #[test]
    fn a_file_says_who_may_see_what() {
        let users = parse(&format!(
            "[users.all]\npassword = '{0}'\n\
             [users.nothing]\npassword = '{0}'\ndatabases = {{}}\n\
             [users.\"some one\"]\npassword = '{0}'\n\
             [users.\"some one\".databases.shop]\ntables = ['orders']\nhidden = {{ '*' = ['card'] }}\n",
            hash()
        ))
        .unwrap();
        let sees = |user: &str, database: &str| {
            users.all[user]
                .viewer
                .sees(&Ident::parse(database).unwrap())
        };
        assert!(sees("all", "shop") && sees("some one", "shop"));
        assert!(!sees("nothing", "shop") && !sees("some one", "other"));
    }

    #[test]
    fn a_wrong_file_is_explained_and_shows_no_hash() {
        let hash = hash();
        for (text, part) in [
            (String::new(), "has no user; add a table [users.NAME]"),
            ("[users]\n".to_owned(), "has no user"),
            (
                "[user.a]\n".to_owned(),
                "line 1 of the users file /etc/users.toml: unknown field `user`",
            ),
            (format!("[users.a]\npassword = '{hash}\n"), "line 2"),
            (format!("[users.a]\n\npasswort = '{hash}'\n"), "line 3"),
            (
                format!("[users.a]\npassword = '{hash}'\ntables = []\n"),
                "line 3",
            ),
            (
                format!(
                    "[users.a]\npassword = '{hash}'\n[users.a.databases.shop]\ntable = ['x']\n"
                ),
                "line 4",
            ),
            (
                format!(
                    "[users.a]\npassword = '{hash}'\n[users.a.databases.shop]\nhidden = ['x']\n"
                ),
                "line 4",
            ),
            (
                "[users.a]\n[users.a.databases.shop]\n".to_owned(),
                "missing field `password`",
            ),
            ("[users.a]\npassword = 'secret'\n".to_owned(), "user \"a\""),
            (format!("[users.'a:b']\npassword = '{hash}'\n"), "no colon"),
            (
                format!("[users.'']\npassword = '{hash}'\n"),
                "has a character",
            ),
            (
                format!("[users.a]\npassword = '{hash}'\n[users.a.databases.'']\n"),
                "a name cannot be empty",
            ),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(
                !error.contains("argon2id$v") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
