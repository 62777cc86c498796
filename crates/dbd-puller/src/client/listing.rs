//! The list of a database's tables.

use common::frame::SourceState;
use common::ident::Ident;
use common::table::{Column, Flavour, Key};
use serde::Deserialize;

use super::{Client, encoded};
use crate::arrival::{Arrival, Broken};
use crate::error::PullError;

/// The longest list of tables that is taken, in bytes: some ten thousand tables of a hundred columns.
pub(super) const MAX_LISTING: usize = 256 << 20;

/// What the server says of a database.
#[derive(Debug, Deserialize)]
pub(crate) struct Listing {
    pub(crate) source: SourceState,
    pub(crate) flavour: Flavour,
    /// What this list is called; another one has another version. A server that names one can be asked what
    /// has changed.
    pub(crate) version: Option<String>,
    pub(crate) tables: Vec<ListedTable>,
}

/// What the server says of a table.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ListedTable {
    pub(crate) name: Ident,
    pub(crate) stamp: Option<ListedStamp>,
    pub(crate) key: Option<Key>,
    pub(crate) columns: Vec<Column>,
    pub(crate) engine: String,
    pub(crate) unsupported: Option<String>,
    pub(crate) definition: Option<String>,
}

/// What the server says of a stamp column.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ListedStamp {
    pub(crate) column: Ident,
    pub(crate) indexed: bool,
}

impl Client {
    /// The tables of a database, parents first.
    pub(crate) async fn tables(
        &self,
        database: &Ident,
        definitions: bool,
    ) -> Result<Listing, PullError> {
        let mut url = format!("{}/", encoded(database.as_str()));
        if definitions {
            url.push_str("?definitions=true");
        }
        // Whoever asks this decides itself how often.
        let request = self.http.get(format!("{}{url}", self.base));
        let answer = self.attempt(request, "application/json").await;
        let answer = answer.map_err(|(error, _)| error)?;
        let strange = |why: &str| PullError::Refusal {
            status: 200,
            detail: format!(
                "a list of tables that this dbd-puller does not understand ({why}); use the same \
                 version of both programs"
            ),
        };
        let text = Arrival::new(answer, self.timeout).whole(MAX_LISTING).await;
        let text = text.map_err(|broken| match broken {
            Broken::Silent => self.silent(),
            Broken::Connection(error) => self.unreachable(error),
            Broken::Endless => strange(&format!("it is longer than {MAX_LISTING} bytes")),
        })?;
        serde_json::from_slice(&text).map_err(|error| strange(&error.to_string()))
    }
}
