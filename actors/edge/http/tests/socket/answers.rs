//! One row per answer that the transport can give, read byte by byte from a real socket.

use std::time::Duration;

use crate::common::{DECISION, Fake, SECRET, command_id, raw, request, serve, serve_fake};
use http::{Client, Limits, Source};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn what_is_understood() {
    let served = serve(Limits::default()).await;
    let id = command_id(1).to_string();
    let echo = |action: &str, arguments: Value| {
        let pid = i32::try_from(std::process::id()).ok();
        let source = format!("{:?}", Source::Process { uid: rustix::process::geteuid().as_raw(), pid });
        json!({ "action": action, "arguments": arguments, "bearer": null, "command_id": null, "source": source })
    };
    let mut known = echo("echo.write", json!({}));
    known["bearer"] = SECRET.into();
    known["command_id"] = id.clone().into();
    let bearer = format!("Authorization: bearer {SECRET}");
    let (key, quoted) = (format!("Idempotency-Key: {id}"), format!("Idempotency-Key: \"{id}\""));
    let chunked =
        b"POST /v1/echo.write HTTP/1.1\r\nHost: sop\r\nConnection: close\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n";
    for (row, bytes, expected) in [
        ("arguments", request("POST /v1/echo.write", &[JSON], b"{\"a\": 1}"), echo("echo.write", json!({ "a": 1 }))),
        ("in chunks", chunked.to_vec(), echo("echo.write", json!({ "a": 1 }))),
        ("credential and id", request("POST /v1/echo.write", &[JSON, &bearer, &key], b"{}"), known.clone()),
        ("a quoted id", request("POST /v1/echo.write", &[JSON, &bearer, &quoted], b"{}"), known),
        (
            "a charset",
            request("POST /v1/echo.write", &["Content-Type: Application/JSON; charset=utf-8"], b"{}"),
            echo("echo.write", json!({})),
        ),
        ("a read by POST", request("POST /v1/echo.read", &[JSON], b"{}"), echo("echo.read", json!({}))),
        (
            "a read by GET",
            request("GET /v1/echo.read?a=1&b=x%20y+z", &[], b""),
            echo("echo.read", json!({ "a": "1", "b": "x y z" })),
        ),
        ("status", request("GET /v1/status", &[], b""), json!({ "name": "fake" })),
        ("alive", request("GET /v1/health/live", &[], b""), json!({ "live": true })),
        ("ready", request("GET /v1/health/ready", &[], b""), json!({ "ready": true })),
        ("alive, to a probe", request("GET /health/live", &[], b""), json!({ "live": true })),
        ("ready, to a probe", request("GET /health/ready", &[], b""), json!({ "ready": true })),
        ("health", request("GET /v1/health", &[], b""), json!({ "phase": "ready" })),
        ("health, to a probe", request("GET /health", &[], b""), json!({ "phase": "ready" })),
    ] {
        let answer = raw(&served.socket, &bytes).await;
        assert_eq!((answer.status, answer.json()), (200, expected), "{row}");
        assert!(answer.has("content-type: application/json"), "{row}");
    }

    let actions = raw(&served.socket, &request("GET /v1/actions", &[], b"")).await.json();
    assert_eq!(actions[0], json!({ "name": "echo.read", "reads_only": true, "summary": "for tests" }));

    let head = raw(&served.socket, &request("HEAD /v1/echo.read", &[], b"")).await;
    assert_eq!((head.status, head.body.len()), (200, 0), "a HEAD is a GET without the body");
}

#[tokio::test]
async fn what_is_refused_before_it_is_asked() {
    let served = serve(Limits { body_max: 64, ..Limits::default() }).await;
    let write = |headers: &[&str], body: &[u8]| request("POST /v1/echo.write", headers, body);
    let (v4, two_ids) = ("Idempotency-Key: c9a04d27-9f0a-4f0e-8a4c-000000000001", command_id(1).to_string());
    let two_ids = format!("Idempotency-Key: {two_ids}\r\nIdempotency-Key: {two_ids}");
    for (row, bytes, status, code, said) in [
        ("not JSON", write(&[JSON], b"{\"a\": "), 400, "http.malformed_json", "line 1 column 6"),
        ("two values", write(&[JSON], b"{} {}"), 400, "http.malformed_json", "trailing"),
        ("not UTF-8", write(&[JSON], b"{\"a\": \"\xff\"}"), 400, "http.not_utf8", "from byte 7"),
        ("a list", write(&[JSON], b"[1]"), 400, "http.not_an_object", "an array"),
        ("a null", write(&[JSON], b"null"), 400, "http.not_an_object", "null"),
        ("too deep", write(&[JSON], "[".repeat(60).as_bytes()), 400, "http.malformed_json", "EOF"),
        ("no body", write(&[JSON], b""), 400, "http.body_missing", "no body"),
        ("too large", write(&[JSON], &[b' '; 65]), 413, "http.body_too_large", "64 bytes"),
        ("far too large", write(&[JSON], &vec![b' '; 1 << 20]), 413, "http.body_too_large", "64 bytes"),
        (
            "a form",
            write(&["Content-Type: application/x-www-form-urlencoded"], b"a=1"),
            415,
            "http.content_type",
            "form",
        ),
        ("no type", write(&[], b"{}"), 415, "http.content_type", "no Content-Type"),
        ("no action", request("POST /v1/echo.wriet", &[JSON], b"{}"), 404, "http.unknown_action", "`echo.wriet`"),
        ("no action to read", request("GET /v1/tokens", &[], b""), 404, "http.unknown_action", "`tokens`"),
        ("encoded", request("POST /v1/echo%2Ewrite", &[JSON], b"{}"), 404, "http.unknown_action", "%2E"),
        ("no path", request("GET /", &[], b""), 404, "http.unknown_path", "nothing at /"),
        ("no such path", request("POST /v2/echo.write", &[JSON], b"{}"), 404, "http.unknown_path", "/v2"),
        ("a slash too many", request("GET /v1/status/", &[], b""), 404, "http.unknown_path", "/v1/status/"),
        ("a write by GET", request("GET /v1/echo.write", &[], b""), 405, "http.method_not_allowed", "GET"),
        ("a DELETE", request("DELETE /v1/echo.read", &[], b""), 405, "http.method_not_allowed", "DELETE"),
        ("a POST to a page", request("POST /v1/status", &[JSON], b"{}"), 405, "http.method_not_allowed", "POST"),
        ("id", write(&[JSON, "Idempotency-Key: 7"], b"{}"), 400, "http.command_id_malformed", "\"7\""),
        ("id of version 4", write(&[JSON, v4], b"{}"), 400, "http.command_id_malformed", "not of version 7"),
        ("two ids", write(&[JSON, &two_ids], b"{}"), 400, "http.command_id_malformed", "several"),
        ("Basic", write(&[JSON, "Authorization: Basic eA=="], b"{}"), 401, "http.credential_malformed", "Bearer"),
        ("no secret", write(&[JSON, "Authorization: Bearer "], b"{}"), 401, "http.credential_malformed", "Bearer"),
        (
            "two credentials",
            write(&[JSON, "Authorization: Bearer a", "Authorization: Bearer b"], b"{}"),
            401,
            "http.credential_malformed",
            "several",
        ),
        ("twice", request("GET /v1/echo.read?a=1&a=2", &[], b""), 400, "http.query_malformed", "twice"),
        ("query not UTF-8", request("GET /v1/echo.read?a=%ff", &[], b""), 400, "http.query_malformed", "UTF-8"),
    ] {
        let answer = raw(&served.socket, &bytes).await;
        let problem = answer.json();
        assert_eq!((answer.status, problem["code"].as_str()), (status, Some(code)), "{row}: {problem}");
        assert!(answer.has("content-type: application/problem+json"), "{row}: {}", answer.headers);
        assert_eq!(problem["type"], format!("urn:sop:{code}"), "{row}");
        assert_eq!(problem["status"], status, "{row}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{row}: {problem}");
        for text in ["title", "remedy", "layer"] {
            assert!(!problem[text].as_str().unwrap().is_empty(), "{row}: {text}");
        }
        assert_eq!(answer.has("www-authenticate: bearer"), status == 401, "{row}");
    }
    assert!(served.api.shown.lock().await.is_empty(), "nothing of this was asked");
}

#[tokio::test]
async fn the_next_step_is_named() {
    let served = serve(Limits::default()).await;
    let misspelt = raw(&served.socket, &request("POST /v1/echo.wriet", &[JSON], b"{}")).await.json();
    assert!(misspelt["remedy"].as_str().unwrap().contains("did you mean `echo.write`?"), "{misspelt}");
    let strange = raw(&served.socket, &request("POST /v1/xyz", &[JSON], b"{}")).await.json();
    assert!(!strange["remedy"].as_str().unwrap().contains("did you mean"), "{strange}");
    for (line, allowed) in [
        ("GET /v1/echo.write", "allow: post"),
        ("PUT /v1/echo.read", "allow: get, post"),
        ("DELETE /v1/status", "allow: get"),
    ] {
        assert!(raw(&served.socket, &request(line, &[], b"")).await.has(allowed), "{line}");
    }
}

#[tokio::test]
async fn what_the_api_refuses() {
    let served = serve(Limits::default()).await;
    for (layer, code, status) in [
        ("request", "tokens.lifetime_malformed", 400),
        ("authenticate", "door.credential", 401),
        ("admit", "door.capability", 403),
        ("policy", "policy.forbidden", 403),
        ("token", "tokens.expired", 403),
        ("seal", "governance.sealed", 403),
        ("limit", "door.rate", 429),
        ("decide", "gaps.closed", 409),
        ("decide", "gaps.unknown", 404),
        ("commit", "journal.failed", 503),
        ("availability", "host.quarantined", 503),
    ] {
        let body = json!({ "layer": layer, "code": code }).to_string();
        let answer = raw(&served.socket, &request("POST /v1/refuse", &[JSON], body.as_bytes())).await;
        let mut problem = answer.json();
        let title = problem.as_object_mut().unwrap().remove("title");
        assert!(title.is_some_and(|title| title.is_string()), "{code}");
        let expected = json!({
            "type": format!("urn:sop:{code}"),
            "status": status,
            "detail": "it is so",
            "code": code,
            "layer": layer,
            "rule": "some.rule",
            "remedy": "do otherwise",
            "retry_after_ms": 2_500,
            "decision": DECISION,
        });
        assert_eq!((answer.status, problem), (status, expected), "{code}");
        assert!(answer.has("retry-after: 3"), "{code}: to come too early is no use");
    }
}

#[tokio::test]
async fn not_ready_is_503_whatever_the_reason() {
    let served = serve_fake(Fake { down: true, ..Fake::default() }, Limits::default()).await;
    let answer = raw(&served.socket, &request("GET /v1/health/ready", &[], b"")).await;
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("journal.down")));
    let live = raw(&served.socket, &request("GET /v1/health/live", &[], b"")).await;
    assert_eq!(live.status, 200, "what is not ready can be alive");
    for (path, status) in [("/health", 503), ("/v1/health", 200), ("/health/ready", 503), ("/health/live", 200)] {
        let answer = raw(&served.socket, &request(&format!("GET {path}"), &[], b"")).await;
        assert_eq!(answer.status, status, "{path}");
    }
    let metrics = raw(&served.socket, &request("GET /metrics", &[], b"")).await;
    assert_eq!((metrics.status, &metrics.body[..]), (200, &b"# TYPE fake_up gauge\nfake_up 1\n"[..]));
    assert!(metrics.has("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", metrics.headers);
}

#[tokio::test]
async fn the_request_id_comes_back_with_every_answer() {
    let served = serve(Limits::default()).await;
    for line in ["GET /v1/status", "GET /nowhere", "DELETE /v1/status", "POST /v1/panic"] {
        let answer = raw(&served.socket, &request(line, &[JSON, "X-Request-Id: r-17"], b"{}")).await;
        assert!(answer.has("x-request-id: r-17"), "{line}: {answer:?}");
    }
}

#[tokio::test]
async fn a_credential_is_in_no_debug_output() {
    let served = serve(Limits::default()).await;
    let bearer = format!("Authorization: Bearer {SECRET}");
    let body = json!({ "secret": SECRET }).to_string();
    let answer = raw(&served.socket, &request("POST /v1/echo.write", &[JSON, &bearer], body.as_bytes())).await;
    assert_eq!(answer.json()["bearer"], SECRET, "the door gets to see it");
    let shown = served.api.shown.lock().await;
    assert!(shown[0].contains("(hidden)") && shown[0].contains("\"secret\""), "{}", shown[0]);
    assert!(!shown[0].contains(SECRET), "{}", shown[0]);
}

#[tokio::test]
async fn a_late_answer_is_an_unknown_outcome() {
    let served = serve(Limits { request_timeout: Duration::from_millis(50), ..Limits::default() }).await;
    let id = command_id(1).to_string();
    let key = format!("Idempotency-Key: {id}");
    for (row, bytes, said) in [
        ("with an id", request("POST /v1/wait.begin", &[JSON, &key], b"{}"), id.as_str()),
        ("without", request("POST /v1/wait.begin", &[JSON], b"{}"), "look what became of it"),
        ("a read", request("GET /v1/wait.read", &[], b""), "ask again"),
    ] {
        let problem = raw(&served.socket, &bytes).await.json();
        assert_eq!((&problem["status"], &problem["code"]), (&json!(503), &json!("http.timeout")), "{row}");
        assert!(problem["remedy"].as_str().unwrap().contains(said), "{row}: {problem}");
        served.api.dropped.pass().await;
    }
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let served = serve(Limits::default()).await;
    let answer = raw(&served.socket, &request("POST /v1/panic", &[JSON], b"{}")).await;
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("http.fault")));
    let after = raw(&served.socket, &request("GET /v1/status", &[], b"")).await;
    assert_eq!(after.status, 200, "and nobody else notices");
}

#[tokio::test]
async fn who_is_slow_is_cut_off() {
    let short = Duration::from_millis(50);
    let served = serve(Limits { header_timeout: short, request_timeout: short, ..Limits::default() }).await;

    let head =
        b"POST /v1/echo.write HTTP/1.1\r\nHost: sop\r\nContent-Type: application/json\r\nContent-Length: 100\r\n";
    let half_a_body = [head.as_slice(), b"\r\n{"].concat();
    let answer = raw(&served.socket, &half_a_body).await;
    assert_eq!((answer.status, &answer.json()["code"]), (408, &json!("http.body_timeout")));

    for half in [b"".as_slice(), b"GET /v1/sta", head] {
        let mut stream = UnixStream::connect(&served.socket).await.unwrap();
        stream.write_all(half).await.unwrap();
        let mut rest = Vec::new();
        // Ends only because the server closes.
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
        closed.await.expect("the server closes").unwrap();
    }
}

/// The longest credential, a token's bearer form, comes to the door whole, among headers of the usual kind.
#[tokio::test]
async fn there_is_room_for_the_longest_credential() {
    let served = serve(Limits::default()).await;
    let form = format!("sop_bt_{}", "A".repeat((16 << 10) - "sop_bt_".len()));
    let (bearer, more) = (format!("Authorization: Bearer {form}"), format!("X-More: {}", "x".repeat(8 << 10)));
    let answer = raw(&served.socket, &request("POST /v1/echo.write", &[JSON, &bearer, &more], b"{}")).await;
    assert_eq!((answer.status, answer.json()["bearer"].as_str()), (200, Some(form.as_str())));
    let client = Client::new(&served.socket);
    let told = client.call("echo.write", &json!({}), Some(&form), None).await.unwrap();
    assert_eq!(told["bearer"], form);
    for shown in served.api.shown.lock().await.iter() {
        assert!(!shown.contains("AAAAAAAA"), "no text shows");
    }
}

#[tokio::test]
async fn bytes_that_are_no_request_end_the_connection() {
    let served = serve(Limits::default()).await;
    for bytes in [b"\x16\x03\x01 hello\r\n\r\n".as_slice(), b"GET\r\n\r\n"] {
        assert_eq!(raw(&served.socket, bytes).await.status, 400);
    }
    let long = format!("X-Long: {}", "x".repeat(64 << 10));
    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    let mut answer = Vec::new();
    // What the server does not read resets the connection, after the answer.
    let _ = stream.write_all(&request("GET /v1/status", &[&long], b"")).await;
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
}
