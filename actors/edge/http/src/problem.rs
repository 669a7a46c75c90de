//! How a no looks on the wire: RFC 9457, `application/problem+json`.

use std::fmt;

use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use kernel::{CommandId, Denial, Layer, Millis, Missing};
use serde::{Deserialize, Serialize};

use crate::Refused;

pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:sop:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What sort of no it is; the same for every problem of a layer.
    pub title: String,
    pub status: u16,
    /// What is the case this time.
    pub detail: String,
    /// Stable, dotted, for programs.
    pub code: String,
    pub layer: Layer,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// What to do next.
    pub remedy: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_ms: Option<u64>,
    /// What alone would have made it an allow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub missing: Option<Missing>,
    /// What to give to `sop explain`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<CommandId>,
}

impl Problem {
    pub fn new(denial: Denial, decision: Option<CommandId>) -> Self {
        Self {
            kind: format!("urn:sop:{}", denial.code),
            title: title(denial.layer).to_owned(),
            status: status(denial.layer, &denial.code).as_u16(),
            detail: denial.reason,
            code: denial.code,
            layer: denial.layer,
            rule: denial.rule,
            remedy: denial.remedy,
            retry_after_ms: denial.retry_after.map(|wait| wait.0),
            missing: denial.missing,
            decision,
        }
    }

    pub(crate) fn status(self, status: StatusCode) -> Self {
        Self { status: status.as_u16(), ..self }
    }

    /// The denial that this is the wire form of.
    pub fn denial(&self) -> Denial {
        Denial {
            layer: self.layer,
            code: self.code.clone(),
            reason: self.detail.clone(),
            rule: self.rule.clone(),
            remedy: self.remedy.clone(),
            retry_after: self.retry_after_ms.map(Millis),
            missing: self.missing.clone(),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::new(*refused.denial, refused.decision)
    }
}

impl From<Denial> for Problem {
    fn from(denial: Denial) -> Self {
        Self::new(denial, None)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(wait) = self.retry_after_ms {
            // The header counts in seconds; to come a little late is better than too early.
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.div_ceil(1_000)));
        } else if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from(1));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let body = serde_json::to_vec(&self).expect("a problem is texts and numbers");
        (status, headers, body).into_response()
    }
}

fn title(layer: Layer) -> &'static str {
    match layer {
        Layer::Request => "The request cannot be understood",
        Layer::Seal => "An emergency stop is in force",
        Layer::Authenticate => "The credential does not name a principal",
        Layer::Admit => "The principal may not ask for this",
        Layer::Limit => "A limit is reached",
        Layer::Policy => "A policy forbids this",
        Layer::Token => "The token does not carry this request",
        Layer::Decide => "The state does not permit this",
        Layer::Commit => "The outcome could not be made durable",
        Layer::Availability => "A part of the authority is not available",
    }
}

fn status(layer: Layer, code: &str) -> StatusCode {
    let reason = code.rsplit('.').next().unwrap_or(code);
    match (layer, reason) {
        (Layer::Request, "unknown_action" | "unknown_path") | (Layer::Decide, "unknown") => StatusCode::NOT_FOUND,
        (Layer::Request, "method_not_allowed") => StatusCode::METHOD_NOT_ALLOWED,
        (Layer::Request, "body_timeout") => StatusCode::REQUEST_TIMEOUT,
        (Layer::Request, "body_too_large") => StatusCode::PAYLOAD_TOO_LARGE,
        (Layer::Request, "content_type") => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (Layer::Request, _) => StatusCode::BAD_REQUEST,
        (Layer::Authenticate, _) => StatusCode::UNAUTHORIZED,
        (Layer::Seal | Layer::Admit | Layer::Policy | Layer::Token, _) => StatusCode::FORBIDDEN,
        (Layer::Limit, _) => StatusCode::TOO_MANY_REQUESTS,
        (Layer::Decide, _) => StatusCode::CONFLICT,
        (Layer::Commit | Layer::Availability, _) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_has_its_status() {
        for (layer, code, expected) in [
            (Layer::Request, "request.argument", 400),
            (Layer::Request, "http.unknown_action", 404),
            (Layer::Request, "http.unknown_path", 404),
            (Layer::Request, "http.method_not_allowed", 405),
            (Layer::Request, "http.body_timeout", 408),
            (Layer::Request, "http.body_too_large", 413),
            (Layer::Request, "http.content_type", 415),
            (Layer::Authenticate, "door.credential", 401),
            (Layer::Admit, "door.capability", 403),
            (Layer::Policy, "policy.forbidden", 403),
            (Layer::Token, "tokens.unknown", 403),
            (Layer::Seal, "governance.sealed", 403),
            (Layer::Limit, "door.rate", 429),
            (Layer::Decide, "gaps.closed", 409),
            (Layer::Decide, "gaps.unknown", 404),
            (Layer::Commit, "journal.full", 503),
            (Layer::Availability, "host.down", 503),
        ] {
            let problem = Problem::from(Denial::new(layer, code, "", ""));
            assert_eq!(problem.status, expected, "{layer:?} {code}");
            assert_eq!(problem.kind, format!("urn:sop:{code}"));
        }
    }

    #[test]
    fn a_problem_keeps_all_of_the_denial() {
        let denial = Denial::new(Layer::Limit, "door.rate", "too many", "wait")
            .rule("rate/agent")
            .retry_after(Millis(1_500))
            .missing(Missing { approvals: 2, proofs: ["kept".to_owned()].into(), have: 1, request: Some(7) });
        let problem = Problem::new(denial.clone(), None);
        let text = serde_json::to_string(&problem).unwrap();
        let read: Problem = serde_json::from_str(&text).unwrap();
        assert_eq!(read, problem);
        assert_eq!(read.denial(), denial);
        assert_eq!(problem.into_response().headers()[RETRY_AFTER], "2");
    }
}
