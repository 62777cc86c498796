//! Who may see what: basic authentication, when there are credentials.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::{Engine, engine::general_purpose::STANDARD};
use common::process::Secret;
use subtle::ConstantTimeEq;

use crate::error::ApiError;
use crate::requests::Line;

/// What callers must know.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

impl Credentials {
    /// Whether the request carries these credentials. How long the answer takes does not tell how
    /// much of a guess was right.
    fn admit(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
            .unwrap_or_default();
        let wanted = format!("{}:{}", self.username, self.password.expose());
        given.ct_eq(wanted.as_bytes()).into()
    }
}

/// Lets a request through that carries the credentials, or any when there are none.
pub(crate) async fn check(
    State(credentials): State<Option<Credentials>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match credentials {
        Some(credentials) if !credentials.admit(request.headers()) => Err(ApiError::Unauthorized),
        Some(credentials) => {
            if let Some(line) = request.extensions().get::<Line>() {
                line.user(&credentials.username);
            }
            Ok(next.run(request).await)
        }
        None => Ok(next.run(request).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_credentials_themselves_are_admitted() {
        let credentials = Credentials {
            username: "ann".to_owned(),
            password: Secret::from("a:b é"),
        };
        for (value, admitted) in [
            (format!("Basic {}", STANDARD.encode("ann:a:b é")), true),
            (format!("basic  {}", STANDARD.encode("ann:a:b é")), true),
            (format!("Basic {}", STANDARD.encode("ann:a:b")), false),
            (format!("Basic {}", STANDARD.encode("bob:a:b é")), false),
            (format!("Bearer {}", STANDARD.encode("ann:a:b é")), false),
            ("Basic".to_owned(), false),
            ("Basic ???".to_owned(), false),
            (String::new(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(credentials.admit(&headers), admitted, "{value:?}");
        }
        assert!(!credentials.admit(&HeaderMap::new()));
    }
}
