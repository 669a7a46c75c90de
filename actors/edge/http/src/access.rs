//! The decision point as AuthZEN Authorization API 1.0 has it: its paths, what it calls things, and where it says to be.

use std::collections::BTreeSet;
use std::fmt;

use axum::http::StatusCode;
use axum::http::header::{HOST, HeaderMap};
use axum::http::uri::Authority;
use kernel::Denial;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::{Problem, request};

const EVALUATE: &str = "authz.evaluate";
const SEARCH: &str = "authz.search";

/// One of the standard's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    path: &'static str,
    /// As the standard names it where it says what there is.
    parameter: &'static str,
    /// What is asked for by it.
    pub action: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of one request, whatever is said of several.
    One,
    Several,
    /// For what.
    Search(&'static str),
}

const ENDPOINTS: [Endpoint; 5] = [
    endpoint("/access/v1/evaluation", "access_evaluation_endpoint", EVALUATE, Kind::One),
    endpoint("/access/v1/evaluations", "access_evaluations_endpoint", EVALUATE, Kind::Several),
    endpoint("/access/v1/search/subject", "search_subject_endpoint", SEARCH, Kind::Search("subject")),
    endpoint("/access/v1/search/resource", "search_resource_endpoint", SEARCH, Kind::Search("resource")),
    endpoint("/access/v1/search/action", "search_action_endpoint", SEARCH, Kind::Search("action")),
];

const fn endpoint(path: &'static str, parameter: &'static str, action: &'static str, kind: Kind) -> Endpoint {
    Endpoint { path, parameter, action, kind }
}

pub fn of_path(path: &str) -> Option<Endpoint> {
    ENDPOINTS.into_iter().find(|endpoint| endpoint.path == path)
}

/// The arguments of the action. What the endpoint decides, the body does not.
pub fn arguments(endpoint: Endpoint, headers: &HeaderMap, body: &[u8]) -> Result<Value, Denial> {
    let mut arguments = request::object(headers, body)?;
    serde_json::from_slice::<Unambiguous>(body).map_err(|error| {
        let remedy = "say each thing once: of two members of one name, others may read the other";
        request::fault("http.malformed_json", format!("the body is ambiguous: {error}"), remedy)
    })?;
    if let Some(members) = arguments.as_object_mut() {
        match endpoint.kind {
            Kind::One => {
                members.remove("evaluations");
                members.remove("options");
            }
            Kind::Several => {}
            Kind::Search(what) => drop(members.insert("search".to_owned(), what.into())),
        }
    }
    Ok(arguments)
}

/// JSON in which no object has two members of one name.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unambiguous)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.contains(&name) {
                let name: String = name.chars().take(80).collect();
                return Err(A::Error::custom(format!("there are two members {name:?} in one object")));
            }
            names.insert(name);
            members.next_value::<Self>()?;
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

/// The standard has one status for all that is wrong with a request, another media type included.
pub fn problem(denial: Denial) -> Problem {
    let problem = Problem::from(denial);
    if problem.status == StatusCode::UNSUPPORTED_MEDIA_TYPE { problem.status(StatusCode::BAD_REQUEST) } else { problem }
}

/// What there is and where, by the name under which it was asked: who asks compares that name with the one he used. `None` if
/// there is no decision point.
pub fn configuration(headers: &HeaderMap, secure: bool, has: impl Fn(&str) -> bool) -> Option<Value> {
    let named = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let host = named.filter(|host| !host.as_str().contains('@'));
    let host = host.as_ref().map_or("localhost", Authority::as_str);
    let base = format!("{}://{host}", if secure { "https" } else { "http" });
    let there = ENDPOINTS.iter().filter(|endpoint| has(endpoint.action));
    let mut page: Map<String, Value> =
        there.map(|endpoint| (endpoint.parameter.to_owned(), json!(format!("{base}{}", endpoint.path)))).collect();
    if page.is_empty() {
        return None;
    }
    page.insert("policy_decision_point".to_owned(), base.into());
    Some(page.into())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn it_says_where_it_is_by_the_name_it_was_asked_under() {
        let page = |host: Option<&'static str>, secure: bool| {
            let mut headers = HeaderMap::new();
            host.map(|host| headers.insert(HOST, HeaderValue::from_static(host)));
            configuration(&headers, secure, |action| action == EVALUATE).unwrap()
        };
        assert_eq!(
            page(Some("pdp.example:8443"), true),
            json!({
                "policy_decision_point": "https://pdp.example:8443",
                "access_evaluation_endpoint": "https://pdp.example:8443/access/v1/evaluation",
                "access_evaluations_endpoint": "https://pdp.example:8443/access/v1/evaluations",
            })
        );
        for (host, secure, base) in [
            (Some("localhost"), false, "http://localhost"),
            (None, false, "http://localhost"),
            (Some("user@pdp.example"), true, "https://localhost"),
        ] {
            assert_eq!(page(host, secure)["policy_decision_point"], base, "{host:?}");
        }
        assert_eq!(configuration(&HeaderMap::new(), true, |_| false), None);
    }

    #[test]
    fn what_the_endpoint_decides_the_body_does_not() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let told = |path: &str, body: &str| arguments(of_path(path).unwrap(), &headers, body.as_bytes()).unwrap();
        let body = r#"{"evaluations": [1], "options": 2, "search": 3, "subject": 4}"#;
        assert_eq!(told("/access/v1/evaluation", body), json!({ "search": 3, "subject": 4 }));
        assert_eq!(told("/access/v1/evaluations", body)["evaluations"], json!([1]));
        assert_eq!(told("/access/v1/search/action", body)["search"], "action");
        assert_eq!(of_path("/access/v1/evaluation/"), None);
        let twice = br#"{"subject": {"id": "a", "properties": [{"x": 1, "\u0078": 2}]}}"#;
        let denial = arguments(of_path("/access/v1/evaluation").unwrap(), &headers, twice).unwrap_err();
        assert_eq!((denial.code.as_str(), denial.reason.contains("two members \"x\"")), ("http.malformed_json", true));
        assert_eq!(
            problem(arguments(of_path("/access/v1/evaluation").unwrap(), &HeaderMap::new(), b"{}").unwrap_err()).status,
            400
        );
    }
}
