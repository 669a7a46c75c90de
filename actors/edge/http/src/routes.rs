//! Which path leads where.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use kernel::{Denial, Layer};
use serde_json::{Value, json};

use crate::request::{self, Asked};
use crate::tcp::is_loopback;
use crate::{ActionInfo, Api, Call, Limits, PeerCertificate, Problem, Source, access};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an action cannot be called, because a page is.
const PAGES: [&str; 3] = ["actions", "health", "status"];

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Names less alike than this are no suggestion but noise.
const LIKENESS_MIN: f64 = 0.6;

/// Stands with a request that came under TLS.
#[derive(Clone, Copy)]
pub(crate) struct Secure;

struct Served {
    api: Arc<dyn Api>,
    actions: BTreeMap<&'static str, ActionInfo>,
    limits: Limits,
}

/// The service of one connection inserts its [`Source`] into each request.
pub(crate) fn router(api: Arc<dyn Api>, limits: Limits) -> Router {
    let actions: BTreeMap<_, _> = api.actions().into_iter().map(|action| (action.name, action)).collect();
    for name in actions.keys() {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let reachable = !name.is_empty() && name.chars().all(plain) && !PAGES.contains(name);
        assert!(reachable, "no request can reach an action named {name:?}");
    }
    let pages_for_all = limits.pages_for_all;
    Router::new()
        .route("/v1/actions", get(actions_page))
        .route("/v1/status", get(status_page))
        .route("/v1/health", get(reasons_page))
        .route("/health", get(health_page))
        .route("/metrics", get(metrics_page))
        .route_layer(from_fn(move |request, next| local(pages_for_all, request, next)))
        .route("/v1/health/live", get(live_page))
        .route("/v1/health/ready", get(ready_page))
        .route("/health/live", get(live_page))
        .route("/health/ready", get(ready_page))
        .route("/v1/{action}", any(act))
        .route("/access/v1/{*what}", any(access))
        .route("/.well-known/authzen-configuration", get(decision_point_page))
        .fallback(unknown_path)
        .method_not_allowed_fallback(only_get)
        .layer(from_fn(frame))
        .with_state(Arc::new(Served { api, actions, limits }))
}

/// Around every answer: the caller's request id comes back, and a panic below is an answer too.
async fn frame(request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).cloned();
    // Without the query, which can hold what is nobody's business.
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match caught(next.run(request)).await {
        Ok(response) => response,
        Err(panic) => {
            let what = panic.downcast_ref::<String>().map(String::as_str);
            let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
            tracing::error!(panic = what, "a request ended in a panic");
            Problem::from(request::faulted()).into_response()
        }
    };
    tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Err(panic).into(),
    })
    .await
}

/// What says more than that we live is for this machine, unless it was opened to all.
async fn local(for_all: bool, request: Request, next: Next) -> Response {
    match request.extensions().get::<Source>() {
        Some(Source::Address(address)) if !for_all && !is_loopback(*address) => {
            let reason = format!("{} is shown on this machine only", request.uri().path());
            let remedy = "ask there, or let the operator set http.pages = \"all\"";
            let denial = Denial::new(Layer::Authenticate, "http.local_page", reason, remedy);
            Problem::from(denial).status(StatusCode::FORBIDDEN).into_response()
        }
        _ => next.run(request).await,
    }
}

async fn actions_page(State(served): State<Arc<Served>>) -> Response {
    Json(served.actions.values().copied().collect::<Vec<_>>()).into_response()
}

async fn status_page(State(served): State<Arc<Served>>) -> Response {
    Json(served.api.status()).into_response()
}

async fn live_page() -> Response {
    Json(json!({ "live": true })).into_response()
}

async fn ready_page(State(served): State<Arc<Served>>) -> Response {
    match served.api.ready() {
        Ok(()) => Json(json!({ "ready": true })).into_response(),
        Err(denial) => Problem::from(denial).status(StatusCode::SERVICE_UNAVAILABLE).into_response(),
    }
}

async fn reasons_page(State(served): State<Arc<Served>>) -> Response {
    Json(served.api.health()).into_response()
}

/// The same for a probe, which looks at the status code.
async fn health_page(State(served): State<Arc<Served>>) -> Response {
    let code = if served.api.ready().is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(served.api.health())).into_response()
}

async fn metrics_page(State(served): State<Arc<Served>>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE))], served.api.metrics()).into_response()
}

async fn only_get(request: Request) -> Response {
    method_not_allowed(request.method(), request.uri().path(), "GET")
}

async fn unknown_path(request: Request) -> Response {
    let detail = format!("there is nothing at {}", request.uri().path());
    Problem::from(request::fault(
        "http.unknown_path",
        detail,
        "ask GET /v1/actions for what there is; an action is at /v1/{action}",
    ))
    .into_response()
}

fn method_not_allowed(method: &Method, path: &str, allowed: &'static str) -> Response {
    let detail = format!("{method} is not for {path}");
    let problem = Problem::from(request::fault("http.method_not_allowed", detail, format!("use {allowed}")));
    let mut response = problem.into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The decision point of AuthZEN: the same actions, under the names and in the words of that standard.
async fn access(State(served): State<Arc<Served>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = request::body(body, served.limits.body_max, served.limits.request_timeout).await;
    let path = parts.uri.path();
    let Some((endpoint, action)) =
        access::of_path(path).and_then(|endpoint| Some((endpoint, served.actions.get(endpoint.action)?)))
    else {
        return unknown_path(Request::from_parts(parts, Body::empty())).await;
    };
    if parts.method != Method::POST {
        return method_not_allowed(&parts.method, path, "POST");
    }
    let arguments = body.and_then(|body| access::arguments(endpoint, &parts.headers, &body));
    match call(&parts, action, arguments) {
        Ok(call) => carried_out(&served, action, call).await,
        Err(denial) => access::problem(denial).into_response(),
    }
}

/// What there is of it, and where. It is of no use to a stranger, and so is open to all.
async fn decision_point_page(State(served): State<Arc<Served>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let secure = parts.extensions.get::<Secure>().is_some();
    let page = access::configuration(&parts.headers, secure, |action| served.actions.contains_key(action));
    match page {
        Some(page) => ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(page)).into_response(),
        None => unknown_path(Request::from_parts(parts, Body::empty())).await,
    }
}

async fn act(State(served): State<Arc<Served>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // Read before anything is judged, so that a refused client is not cut off while it sends.
    let body = request::body(body, served.limits.body_max, served.limits.request_timeout).await;

    let path = parts.uri.path();
    let name = path.strip_prefix("/v1/").unwrap_or(path);
    let Some(action) = served.actions.get(name) else { return unknown_action(&served, name) };
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    let arguments = match (&parts.method, action.reads_only) {
        (&Method::POST, _) => body.and_then(|body| request::object(&parts.headers, &body)),
        (_, true) if reads => request::query(&parts.uri),
        (_, true) => return method_not_allowed(&parts.method, path, "GET, POST"),
        (_, false) => return method_not_allowed(&parts.method, path, "POST"),
    };
    match call(&parts, action, arguments) {
        Ok(call) => carried_out(&served, action, call).await,
        Err(denial) => Problem::from(denial).into_response(),
    }
}

fn call(parts: &Parts, action: &ActionInfo, arguments: Result<Value, Denial>) -> Result<Call, Denial> {
    let arguments = arguments?;
    let (bearer, command_id) = (request::bearer(&parts.headers)?, request::command_id(&parts.headers)?);
    let source = *parts.extensions.get::<Source>().expect("each connection says who is at its other end");
    let certificate = parts.extensions.get::<Arc<PeerCertificate>>().cloned();
    Ok(Call { action: action.name.to_owned(), arguments, bearer, command_id, source, certificate })
}

async fn carried_out(served: &Served, action: &ActionInfo, call: Call) -> Response {
    let (asked, timeout) = (Asked::of(&call, action.reads_only), served.limits.request_timeout);
    match tokio::time::timeout(timeout, served.api.call(call)).await {
        Ok(Ok(value)) => Json(value).into_response(),
        Ok(Err(refused)) => Problem::from(refused).into_response(),
        Err(_) => Problem::from(request::timed_out(&asked, timeout)).into_response(),
    }
}

fn unknown_action(served: &Served, name: &str) -> Response {
    let shown: String = name.chars().take(80).collect();
    let nearest = served
        .actions
        .keys()
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(likeness, _)| LIKENESS_MIN <= *likeness)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    let remedy = match nearest {
        Some((_, known)) => format!("did you mean `{known}`? GET /v1/actions lists them all"),
        None => "ask GET /v1/actions for what there is".to_owned(),
    };
    Problem::from(request::fault("http.unknown_action", format!("there is no action `{shown}`"), remedy))
        .into_response()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    struct Idle;

    impl Api for Idle {
        fn actions(&self) -> Vec<ActionInfo> {
            Vec::new()
        }

        fn call(&self, _: Call) -> crate::Answer<'_> {
            unreachable!("there are no actions")
        }

        fn ready(&self) -> Result<(), Denial> {
            Ok(())
        }

        fn status(&self) -> Value {
            Value::Null
        }

        fn health(&self) -> Value {
            Value::Null
        }

        fn metrics(&self) -> String {
            String::new()
        }
    }

    #[tokio::test]
    async fn other_machines_learn_that_we_live_and_no_more() {
        let at = |address: &str| Source::Address(address.parse::<IpAddr>().unwrap());
        let (process, here, mapped) = (Source::Process { uid: 0, pid: None }, at("127.0.0.1"), at("::ffff:127.0.0.1"));
        let (near, far) = (at("10.0.0.7"), at("2001:db8::1"));
        let probes = ["/health/live", "/health/ready", "/v1/health/live", "/v1/health/ready"];
        for (pages_for_all, source, shown) in [
            (false, process, 200),
            (false, here, 200),
            (false, mapped, 200),
            (false, near, 403),
            (false, far, 403),
            (true, far, 200),
        ] {
            let service =
                TowerToHyperService::new(router(Arc::new(Idle), Limits { pages_for_all, ..Limits::default() }));
            let status = async |path: &str| {
                let request = Request::get(path).extension(source).body(Body::empty()).unwrap();
                service.call(request).await.unwrap().status().as_u16()
            };
            for path in probes {
                assert_eq!(status(path).await, 200, "{path} from {source:?}");
            }
            for path in ["/v1/status", "/v1/health", "/v1/actions", "/health", "/metrics"] {
                assert_eq!(status(path).await, shown, "{path} from {source:?}");
            }
            assert_eq!(status("/v1/nothing").await, 404);
        }
    }
}
