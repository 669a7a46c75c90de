//! Reads a request: its headers, query and body become the parts of a [`Call`], or a [`Denial`] that says what is wrong.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::http::Uri;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use http_body_util::BodyExt;
use kernel::{CommandId, Denial, Layer};
use serde_json::{Map, Value};

use crate::Call;

pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// How much of a body that is too large is still read and thrown away. A client that is not cut off while it sends gets to
/// read why it is refused.
const DRAINED_MAX: usize = 4 << 20;

/// The secret that the caller shows; not whether it is any good.
pub fn bearer(headers: &HeaderMap) -> Result<Option<String>, Denial> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if headers.contains_key(AUTHORIZATION) {
            Err(credential("the request has several Authorization headers"))
        } else {
            Ok(None)
        };
    };
    let text = value.to_str().map_err(|_| credential("the Authorization header is not plain ASCII"))?;
    match text.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") && !secret.trim().is_empty() => {
            Ok(Some(secret.trim().to_owned()))
        }
        _ => Err(credential("the Authorization header is not of the form \"Bearer <secret>\"")),
    }
}

fn credential(detail: &str) -> Denial {
    let remedy = "send one header \"Authorization: Bearer <secret>\" with the credential you were given";
    Denial::new(Layer::Authenticate, "http.credential_malformed", detail, remedy)
}

/// Quotes around the id are taken off: the draft standard of this header makes its value a quoted string.
pub fn command_id(headers: &HeaderMap) -> Result<Option<CommandId>, Denial> {
    let malformed = |detail: String| {
        let remedy = "make one UUIDv7 per command, such as 0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f, and repeat the command with the same";
        fault("http.command_id_malformed", detail, remedy)
    };
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed("the request has several Idempotency-Key headers".to_owned()));
    }
    let text = value.to_str().map_err(|_| malformed("the Idempotency-Key is not plain ASCII".to_owned()))?;
    let id: CommandId =
        text.trim_matches('"').parse().map_err(|error| malformed(format!("the Idempotency-Key {error}")))?;
    match id.made_at() {
        Some(_) => Ok(Some(id)),
        None => Err(malformed(format!("the Idempotency-Key {id} is a UUID, but not of version 7"))),
    }
}

/// The arguments of a GET.
pub(crate) fn query(uri: &Uri) -> Result<Value, Denial> {
    let malformed = |detail: String| {
        fault("http.query_malformed", detail, "write ?name=value&name=value, percent-encoded UTF-8, each name once")
    };
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|rejection| malformed(format!("the query cannot be read: {rejection}")))?;
    let mut arguments = Map::new();
    for (name, value) in pairs {
        // What the decoder could not read, it has replaced.
        if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
            return Err(malformed(format!("the query is not UTF-8 at {name:?}")));
        }
        if arguments.contains_key(&name) {
            return Err(malformed(format!("the query has {name:?} twice")));
        }
        arguments.insert(name, Value::String(value));
    }
    Ok(Value::Object(arguments))
}

/// The bytes of a body, at most `max`, in at most `timeout`.
pub(crate) async fn body(body: Body, max: usize, timeout: Duration) -> Result<Vec<u8>, Denial> {
    tokio::time::timeout(timeout, read(body, max)).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {timeout:?}; nothing has been done");
        Err(fault("http.body_timeout", detail, "send the whole body at once, and as long as Content-Length says"))
    })
}

async fn read(mut body: Body, max: usize) -> Result<Vec<u8>, Denial> {
    let (mut bytes, mut seen) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let detail = format!("the body broke off: {error}");
            fault("http.body_broken", detail, "send as many bytes as Content-Length says")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= max {
            bytes.extend_from_slice(&data);
        } else if max.saturating_add(DRAINED_MAX) < seen {
            break;
        }
    }
    if seen <= max {
        return Ok(bytes);
    }
    let remedy = "send less at once, or let the operator raise door.body_max";
    Err(fault("http.body_too_large", format!("the body has more than {max} bytes"), remedy))
}

/// The arguments of a POST.
pub(crate) fn object(headers: &HeaderMap, body: &[u8]) -> Result<Value, Denial> {
    let media_type = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = media_type.as_deref().map(|text| text.split(';').next().unwrap_or(text).trim());
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        let detail = match essence {
            Some(other) => format!("the body is {other:?}, not \"application/json\""),
            None => "the request has no Content-Type".to_owned(),
        };
        let remedy = "send the arguments as a JSON object with the header \"Content-Type: application/json\"";
        return Err(fault("http.content_type", detail, remedy));
    }
    if body.is_empty() {
        let remedy = "send the arguments as a JSON object; {} if there are none";
        return Err(fault("http.body_missing", "the request has no body", remedy));
    }
    let text = str::from_utf8(body).map_err(|error| {
        let detail = format!("the body is not UTF-8 from byte {}", error.valid_up_to());
        fault("http.not_utf8", detail, "encode the JSON as UTF-8")
    })?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let remedy = "send one well-formed JSON object";
        fault("http.malformed_json", format!("the body is not JSON: {error}"), remedy)
    })?;
    if value.is_object() {
        return Ok(value);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) | Value::Object(_) => "an array",
    };
    let remedy = "name the arguments: {\"name\": value}";
    Err(fault("http.not_an_object", format!("the body is {kind}, not an object"), remedy))
}

/// The time is over while the [`Api`](crate::Api) is at it.
pub(crate) fn timed_out(call: &Asked, timeout: Duration) -> Denial {
    let (detail, remedy) = match call {
        Asked { reads_only: true, .. } => (format!("no answer within {timeout:?}"), "ask again".to_owned()),
        Asked { command_id: Some(id), .. } => (
            format!("no answer within {timeout:?}; the outcome is unknown"),
            format!("repeat with the same Idempotency-Key ({id}): it is done once, and you get the outcome"),
        ),
        Asked { command_id: None, .. } => (
            format!("no answer within {timeout:?}; the outcome is unknown"),
            "look what became of it before you repeat it, and send an Idempotency-Key: a repeat with the same is done once"
                .to_owned(),
        ),
    };
    Denial::new(Layer::Availability, "http.timeout", detail, remedy)
}

/// What remains known of a call while it is under way.
pub(crate) struct Asked {
    pub reads_only: bool,
    pub command_id: Option<CommandId>,
}

impl Asked {
    pub fn of(call: &Call, reads_only: bool) -> Self {
        Self { reads_only, command_id: call.command_id }
    }
}

/// The handler panicked. The panic's own words go to the log; they are not for callers.
pub(crate) fn faulted() -> Denial {
    let remedy = "look before you repeat it: the outcome is unknown; the daemon's log has the reason";
    Denial::new(Layer::Availability, "http.fault", "the answer could not be worked out", remedy)
}

/// What is wrong with the request itself.
pub(crate) fn fault(code: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Denial {
    Denial::new(Layer::Request, code, detail, remedy)
}
