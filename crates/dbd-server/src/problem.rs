//! The kinds of problems (RFC 9457): what each is called for ever, its status, and its title.

use axum::http::StatusCode;

/// What the name of a kind stands behind in `type`.
const SPACE: &str = "urn:dbd:problem:";

macro_rules! problems {
    ($($kind:ident: $name:literal, $status:ident, $title:literal;)+) => {
        /// A kind of problem; the README says what to do about each.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Problem { $($kind),+ }

        impl Problem {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$kind),+];

            /// The last part of its `type`.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }

            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status),+ }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$kind => $title),+ }
            }
        }
    };
}

problems! {
    InvalidRequest: "invalid-request", BAD_REQUEST, "The request is wrong";
    UnknownParameter: "unknown-parameter", BAD_REQUEST, "There is no such parameter";
    InvalidCursor: "invalid-cursor", BAD_REQUEST, "The cursor cannot be used here";
    Unauthorized: "unauthorized", UNAUTHORIZED, "Credentials are needed";
    TooManyLogins: "too-many-logins", TOO_MANY_REQUESTS, "Too many logins have failed";
    NotFound: "not-found", NOT_FOUND, "There is no such thing";
    MethodNotAllowed: "method-not-allowed", METHOD_NOT_ALLOWED, "This path takes other methods";
    NotAcceptable: "not-acceptable", NOT_ACCEPTABLE, "No form of the answer is accepted";
    RequestTimeout: "request-timeout", REQUEST_TIMEOUT, "The request did not arrive in time";
    BodyTooLong: "body-too-long", PAYLOAD_TOO_LARGE, "The body is too long";
    UrlTooLong: "url-too-long", URI_TOO_LONG, "The URL is too long";
    NotAForm: "not-a-form", UNSUPPORTED_MEDIA_TYPE, "The body is not a form";
    UnsupportedTable: "unsupported-table", UNPROCESSABLE_ENTITY, "The table or column cannot be served";
    SourceRefused: "source-refused", INTERNAL_SERVER_ERROR, "The source refused";
    SourceFailed: "source-failed", INTERNAL_SERVER_ERROR, "The source failed";
    Busy: "busy", SERVICE_UNAVAILABLE, "There is no place for another answer";
    Stopping: "stopping", SERVICE_UNAVAILABLE, "The server stops";
    HorizonNotKnown: "horizon-not-known", SERVICE_UNAVAILABLE, "The horizon is not known";
    SourceBusy: "source-busy", SERVICE_UNAVAILABLE, "There is no free connection to the source";
    SourceUnreachable: "source-unreachable", SERVICE_UNAVAILABLE, "The source cannot be reached";
    AnswerTooLong: "answer-too-long", GATEWAY_TIMEOUT, "The answer took too long";
    QueryTooLong: "query-too-long", GATEWAY_TIMEOUT, "A statement took too long";
}

impl Problem {
    /// Its `type`.
    pub(crate) fn uri(self) -> String {
        format!("{SPACE}{}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_problem_with_its_status() {
        let readme = include_str!("../../../README.md");
        let (_, section) = readme.split_once("\n### Problems\n").unwrap();
        let (section, _) = section.split_once("\n#").unwrap();
        let rows = section.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.strip_suffix('`')?;
            let status = cells.next()?.parse::<u16>().ok()?;
            Some((name, status))
        });
        let told = |problem: &Problem| (problem.name(), problem.status().as_u16());
        let mut listed: Vec<_> = rows.collect();
        let mut known: Vec<_> = Problem::ALL.iter().map(told).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
    }
}
