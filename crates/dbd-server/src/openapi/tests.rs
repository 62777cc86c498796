//! That the description says what the router does.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use clap::Parser;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::describe;
use crate::error::ApiError;
use crate::parts::{self, Asked};
use crate::{Args, settings};

fn described() -> Value {
    serde_json::to_value(describe(true)).unwrap()
}

/// A router whose source cannot be reached.
fn router() -> Router {
    let args = Args::parse_from(["x", "--source-port=1"]);
    crate::router(settings(&args).unwrap())
}

/// The paths of a router, as it shows them for debugging: it has no other way to tell.
fn routes(router: &Router) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    let paths = shown.split("RouteId(").filter_map(|part| {
        let path = part.split_once("): \"")?.1;
        path.split_once('"').map(|(path, _)| path.to_owned())
    });
    // Its fallback is a route of its own.
    paths.filter(|path| !path.contains("__private__")).collect()
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let described = described();
    let described = described["paths"].as_object().unwrap();
    let router = router();
    let routes = routes(&router);
    for path in described.keys() {
        assert!(routes.contains(path), "{path} is no route of {routes:?}");
    }
    assert!(routes.len() >= described.len(), "{routes:?}");
    for path in routes {
        // Without its slash a path stands for the one with it.
        let slashed = format!("{path}/");
        let item = described.get(&path).or_else(|| described.get(&slashed));
        let item = item.unwrap_or_else(|| panic!("{path} is not described"));
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ] {
            let uri = path.replace("{database}", "d").replace("{table}", "t");
            let request = Request::builder().method(&method).uri(uri);
            let request = request.body(Body::empty()).unwrap();
            let status = router.clone().oneshot(request).await.unwrap().status();
            let is_there =
                status != StatusCode::METHOD_NOT_ALLOWED && status != StatusCode::NOT_FOUND;
            let is_described = item.get(method.as_str().to_lowercase()).is_some();
            assert_eq!(is_there, is_described, "{method} {path}: {status}");
        }
    }
}

/// The names of the query's parameters, and the value of one of their members.
fn query<'a>(path: &str, described: &'a Value) -> Vec<(&'a str, &'a Value)> {
    let parameters = described["paths"][path]["get"]["parameters"].as_array();
    let parameters = parameters.unwrap_or_else(|| panic!("no parameters of {path}"));
    let query = parameters
        .iter()
        .filter(|parameter| parameter["in"] == "query");
    query
        .map(|parameter| (parameter["name"].as_str().unwrap(), &parameter["schema"]))
        .collect()
}

type Parse = fn(&[(String, String)]) -> Result<(), ApiError>;

/// Every parameter that is taken is described, with its bounds.
#[test]
fn every_parameter_is_described_with_its_bounds() {
    let described = described();
    let paths: [(&str, Parse); 3] = [
        ("/{database}/{table}/", |pairs| {
            crate::params::Params::parse(pairs).map(drop)
        }),
        ("/{database}/{table}/-/digests", |pairs| {
            parts::Params::parse(Asked::Digests, pairs).map(drop)
        }),
        ("/{database}/{table}/-/keys", |pairs| {
            parts::Params::parse(Asked::Keys, pairs).map(drop)
        }),
    ];
    for (path, parse) in paths {
        let parse = |name: &str, value: &str| parse(&[(name.to_owned(), value.to_owned())]);
        let refusal = parse("nosuch", "").unwrap_err().to_string();
        let known = refusal.split("there are ").last().unwrap_or_default();
        let known: BTreeSet<&str> = known.split(", ").collect();
        let query = query(path, &described);
        let names: BTreeSet<&str> = query.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, known, "{path}");
        for (name, schema) in query {
            for (bound, further) in [("minimum", -1.0), ("maximum", 1.0)] {
                if let Some(bound) = schema[bound].as_f64() {
                    parse(name, &format!("{bound}")).unwrap();
                    assert!(
                        parse(name, &format!("{}", bound + further)).is_err(),
                        "{name}"
                    );
                }
            }
            for value in schema["enum"].as_array().into_iter().flatten() {
                let value = value.as_str().unwrap();
                let refused = parse(name, value).err().map(|error| error.to_string());
                // One value may need another parameter.
                let is_right = refused.as_ref().is_none_or(|error| error.contains("needs"));
                assert!(is_right, "{name}={value}: {refused:?}");
            }
            for example in schema["examples"].as_array().into_iter().flatten() {
                let value = example.as_str().unwrap();
                let refused = parse(name, value).err().map(|error| error.to_string());
                let is_right = refused.as_ref().is_none_or(|error| error.contains("needs"));
                assert!(is_right, "{name}={value}: {refused:?}");
            }
        }
    }
}

#[test]
fn credentials_are_described_where_there_are_any() {
    let with = described();
    let without = serde_json::to_value(describe(false)).unwrap();
    assert_eq!(with["openapi"], "3.1.0");
    let scheme = json!({"type": "http", "scheme": "basic"});
    assert_eq!(with["components"]["securitySchemes"]["basic"], scheme);
    assert!(without["components"].get("securitySchemes").is_none());
    for (path, item) in with["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let open = path == "/-/live" || path == "/-/ready";
            assert_eq!(operation.get("security").is_none(), open, "{path}");
            assert_eq!(operation["responses"].get("401").is_none(), open, "{path}");
            let other = &without["paths"][path][method];
            assert!(other.get("security").is_none(), "{path}");
            assert!(other["responses"].get("401").is_none(), "{path}");
        }
    }
}
