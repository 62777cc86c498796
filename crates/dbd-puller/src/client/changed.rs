//! Which of many tables have anything new, in one request.

use common::frame::SourceState;
use common::ident::Ident;
use common::stamp::Stamp;
use serde::Deserialize;
use serde_json::json;

use super::listing::MAX_LISTING;
use super::{Client, KeyValues, encoded};
use crate::arrival::{Arrival, Broken};
use crate::error::PullError;

/// Where a window of a table would begin: right behind a key of that stamp, or with the stamp.
#[derive(Clone, Debug)]
pub(crate) struct Begin {
    pub(crate) table: Ident,
    pub(crate) stamp: Ident,
    pub(crate) since: Stamp,
    pub(crate) after: Option<KeyValues>,
}

/// What has anything new, or may have.
#[derive(Debug, Deserialize)]
pub(crate) struct Changes {
    pub(crate) source: SourceState,
    /// The version of the list of tables now.
    pub(crate) version: String,
    pub(crate) changed: Vec<Ident>,
}

impl Client {
    /// Asks which of these tables have anything new; none where the server cannot say, and each has to be asked
    /// for. `version` is that of the list of tables that is to be used again.
    pub(crate) async fn changed(
        &self,
        database: &Ident,
        begins: &[Begin],
        version: Option<&str>,
    ) -> Result<Option<Changes>, PullError> {
        let tables: Vec<String> = begins.iter().map(Begin::json).collect();
        let body = format!(
            "{{\"tables\":[{}],\"version\":{}}}",
            tables.join(","),
            json!(version)
        );
        let path = format!("{}/-/changed", encoded(database.as_str()));
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .body(body);
        let answer = match self.attempt(request, "application/json").await {
            Ok(answer) => answer,
            Err((error @ PullError::Refusal { .. }, _)) => {
                tracing::debug!("{error}; asking for each table");
                return Ok(None);
            }
            Err((error, _)) => return Err(error),
        };
        match Arrival::new(answer, self.timeout).whole(MAX_LISTING).await {
            // What cannot be read says nothing.
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(Broken::Silent) => Err(self.silent()),
            Err(Broken::Connection(error)) => Err(self.unreachable(error)),
            Err(Broken::Endless) => Ok(None),
        }
    }
}

impl Begin {
    fn json(&self) -> String {
        let after = self.after.as_ref();
        format!(
            "[{},{},{},{}]",
            json!(self.table),
            json!(self.stamp),
            json!(self.since),
            after.map_or("null".to_owned(), |key| format!("[{}]", key.join(",")))
        )
    }
}
