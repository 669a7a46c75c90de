//! What is asked wrongly is answered with what is wrong and what to do instead.

use kernel::{CommandId, Digest, Layer};
use kit::{Authority, Client, root};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use crate::{Place, failed};

#[test]
fn a_command_that_does_not_exist_is_answered_with_the_one_that_does() {
    failed(&Place::new().daemon.run(&["statsu"]), 1, &["'statsu'", "'status'"]);
}

#[test]
fn an_option_that_does_not_exist_is_answered_with_the_one_that_does() {
    let place = Place::new();
    place.daemon.configure("[store]\nreserv = \"1MiB\"\n");
    let words = ["config.unknown_key", "sop.toml:2:1", "did you mean `reserve`"];
    failed(&place.daemon.run(&["up"]), 1, &words);
    assert!(!place.daemon.data.join("journal").exists(), "nothing was begun");
}

/// A request as nobody's library would send it; the answer's status, and its body.
fn posted(socket: &Path, action: &str, headers: &[&str], body: &[u8]) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "POST /v1/{action} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n").unwrap();
    for header in headers {
        write!(stream, "{header}\r\n").unwrap();
    }
    write!(stream, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_by_its_name_and_changes_nothing() {
    let mut place = Place::started().await;
    let secret = place.daemon.credential();
    let bearer = format!("Authorization: Bearer {}", secret.expose());
    let before = place.daemon.client().get("/v1/status").await.unwrap()["head"].as_u64().unwrap();
    let too_much = vec![b' '; (256 << 10) + 1];
    // A UUID of version 8, as only parts of the authority itself derive them.
    let forged = format!("Idempotency-Key: {}", CommandId::derived(Digest([7; 32])));
    for (what, action, headers, body, status, code) in [
        ("no JSON", "token.issue", vec![&*bearer], &b"{\"id\": "[..], 400, "http.malformed_json"),
        ("no object", "token.issue", vec![&*bearer], b"[1]", 400, "http.not_an_object"),
        ("no UTF-8", "token.issue", vec![&*bearer], b"{\"id\": \"\xff\"}", 400, "http.not_utf8"),
        ("too much", "token.issue", vec![&*bearer], &too_much, 413, "http.body_too_large"),
        ("unknown argument", "policy.list", vec![&*bearer], b"{\"colour\": 1}", 400, "request.arguments"),
        ("unknown action", "token.isue", vec![&*bearer], b"{}", 404, "http.unknown_action"),
        ("forged id", "policy.list", vec![&*bearer, &*forged], b"{}", 400, "http.command_id_malformed"),
        ("no id", "policy.list", vec![&*bearer, "Idempotency-Key: 7"], b"{}", 400, "http.command_id_malformed"),
        ("no bearer", "policy.list", vec!["Authorization: Basic x"], b"{}", 401, "http.credential_malformed"),
        ("no credential", "policy.list", vec![], b"{}", 401, "door.no_credential"),
    ] {
        let (answered, problem) = posted(&place.daemon.socket, action, &headers, body);
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{what}: {problem}");
        assert!(!problem["remedy"].as_str().unwrap().is_empty(), "{what}: {problem}");
    }
    let suggestion = posted(&place.daemon.socket, "token.isue", &[], b"{}").1;
    assert!(suggestion["remedy"].as_str().unwrap().contains("`token.issue`"), "{suggestion}");
    // The authority's own parts may have something to record at any time.
    place.daemon.kill();
    let authority = Authority::start(&place.daemon.data, "").await;
    let mut since = authority.records().into_iter().filter(|record| before < record.sequence.0);
    let asked = since.find(|record| !record.principal.starts_with("internal/"));
    assert_eq!(asked.map(|record| (record.sequence, record.principal)), None, "nothing of it is recorded");
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_counted_and_a_command_id_is_for_one_command() {
    let place = Place::started().await;
    let (client, secret) = (place.daemon.client(), place.daemon.credential());
    let mut stranger = Client::new("stranger", Arc::new(client.clone()));
    let told = stranger.ask(None, "sop_op_0123456789", "policy.list", json!({})).await;
    assert_eq!(told.code(), Some("door.malformed_credential"), "it was cut short");
    assert_eq!(client.get("/v1/status").await.unwrap()["strangers_denied"], 1);

    let id = host::Clock::system().command_id();
    let text =
        |name: &str| json!({ "text": format!("@id(\"{name}\") permit (principal is Operator, action, resource);") });
    let bearer = Some(secret.expose());
    let first = client.call("policy.propose", &text("one"), bearer, Some(id)).await.unwrap();
    let again = client.call("policy.propose", &text("one"), bearer, Some(id)).await.unwrap();
    assert_eq!(again, first);
    match client.call("policy.propose", &text("two"), bearer, Some(id)).await.unwrap_err() {
        http::ClientError::Refused(problem) => assert_eq!(problem.code, "host.id_taken"),
        other => panic!("{other}"),
    }
    let mut operator = Client::new("operator", Arc::new(client));
    let told = operator.ask(Some(&root()), secret.expose(), "token.list", json!({})).await;
    assert!(matches!(told, kit::Told::No(denial) if denial.layer == Layer::Policy), "epoch 0 allows policies only");
}
