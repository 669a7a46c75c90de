//! Tokens of issuers elsewhere: by keys from a file and from an address, while the keys change, and once they cannot be read.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::ClientError;
use kit::{Client, admit, adopt_starter, root};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::secrets::files;
use crate::{Place, authzen, failed};

const ISSUER: &str = "https://idp.example";
const OTHER: &str = "https://login.example";

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn seconds() -> u64 {
    host::Clock::system().now().0 / 1_000
}

/// A key of an issuer, and its name.
struct Signer(Ed25519KeyPair, &'static str);

impl Signer {
    fn new(kid: &'static str) -> Self {
        Self(Ed25519KeyPair::generate().unwrap(), kid)
    }

    fn keys(&self) -> String {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.1, "x": text(self.0.public_key()) });
        json!({ "keys": [key] }).to_string()
    }

    fn token(&self, payload: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "kid": self.1, "typ": "JWT" });
        let signed = format!("{}.{}", text(header.to_string()), text(payload.to_string()));
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", text(signature))
    }
}

fn payload(issuer: &str, subject: &str) -> Value {
    json!({ "iss": issuer, "sub": subject, "aud": ["sop"], "exp": seconds() + 600, "groups": ["ops"] })
}

async fn ask(client: &http::Client, token: &str) -> Result<String, String> {
    match client.call("security.whoami", &json!({}), Some(token), None).await {
        Ok(known) => Ok(known["principal"].as_str().unwrap().to_owned()),
        Err(ClientError::Refused(problem)) => Err(problem.code.clone()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_issuer_names_whom_the_registry_says() {
    let mut place = Place::new();
    let file = place.home.path().join("jwks.json");
    let (first, second) = (Signer::new("one"), Signer::new("two"));
    fs::write(&file, first.keys()).unwrap();
    place.daemon.configure(&format!(
        "http.issuers = [\"{ISSUER} audience=sop algorithms=EdDSA keys=../jwks.json claims=groups:ops leeway=1s refresh=1s\"]\n"
    ));
    place.daemon.start().await;
    let secret = place.daemon.credential();
    let mut operator = Client::new("operator", Arc::new(place.daemon.client()));
    adopt_starter(&mut operator, &secret).await;
    admit(&mut operator, &secret, "agent/alpha").await;

    let token = first.token(&payload(ISSUER, "alpha"));
    place
        .daemon
        .until("the keys are read", async |client| ask(client, &token).await == Err("door.foreign_unknown".into()))
        .await;
    let create = |rest: &[&'static str]| {
        let all = [&["security", "credentials", "--create", "agent/alpha", "--issuer", ISSUER][..], rest].concat();
        place.daemon.run(&all)
    };
    failed(&create(&["--subject", "alpha", "--claim", "groups"]), 1, &["error[cli.claim]", "NAME=VALUE"]);
    let made = create(&["--subject", "alpha", "--claim", "groups=ops", "--label", "idp", "-o", "json"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let made: Value = made.stdout.parse().unwrap();
    let client = place.daemon.client();
    assert_eq!(ask(&client, &token).await, Ok("agent/alpha".into()));
    let listed = place.daemon.run(&["security", "credentials"]).stdout;
    assert!(listed.contains("alpha at https://idp.example with groups=ops"), "{listed}");

    // The record says by which credential it was, as it does of a key.
    let known = client.call("security.whoami", &json!({}), Some(&token), None).await.unwrap();
    assert_eq!(known["by"], json!({ "credential": made["credential"], "form": "foreign" }));
    client.call("gap.list", &json!({}), Some(&token), None).await.unwrap();
    let found = json!({ "principal": "agent/alpha", "action": "gap.list" });
    let found = client.call("audit.list", &found, Some(secret.expose()), None).await.unwrap();
    let record = found["records"][0]["sequence"].to_string();
    let shown = client.call("audit.show", &json!({ "record": record }), Some(secret.expose()), None).await.unwrap();
    assert_eq!(shown["records"][0]["asked"]["standing"]["credential"], made["credential"], "{shown}");
    let explained = place.daemon.run(&["explain", &record]);
    let by = format!("agent/alpha, by credential {}", made["credential"].as_str().unwrap());
    assert!(explained.stdout.contains(&by), "{explained:?}");

    // So does that of a question to the decision point.
    let question = authzen::asked("agent/alpha", "todo.list", ("todo", "*")).to_string();
    let request = authzen::post(authzen::ONE, &[&format!("Authorization: Bearer {token}")], &question);
    let told = authzen::exchanged(UnixStream::connect(&place.daemon.socket).unwrap(), &request);
    assert_eq!((told.status, &told.body["decision"]), (200, &json!(true)), "{told:?}");
    let found = json!({ "principal": "agent/alpha", "action": "authz.evaluate" });
    let found = client.call("audit.list", &found, Some(secret.expose()), None).await.unwrap();
    let record = found["records"][0]["sequence"].to_string();
    let shown = client.call("audit.show", &json!({ "record": record }), Some(secret.expose()), None).await.unwrap();
    assert_eq!(shown["records"][0]["asked"]["standing"]["credential"], made["credential"], "{shown}");

    let no = |code: &str| Err(code.to_owned());
    let with = |name: &str, value: Value| {
        let mut payload = payload(ISSUER, "alpha");
        payload[name] = value;
        first.token(&payload)
    };
    let none = format!("{}.{}.", text(r#"{"alg":"none"}"#), text(payload(ISSUER, "alpha").to_string()));
    for (row, token, code) in [
        ("another subject", with("sub", json!("beta")), "door.foreign_unknown"),
        ("without the claim", with("groups", json!(["dev"])), "door.foreign_claim"),
        ("for others", with("aud", json!("other")), "door.foreign_audience"),
        ("of another issuer", with("iss", json!("https://evil.example")), "door.foreign_issuer"),
        ("expired", with("exp", json!(seconds() - 10)), "door.foreign_expired"),
        ("not yet", with("nbf", json!(seconds() + 100)), "door.foreign_not_yet"),
        ("by an unknown key", second.token(&payload(ISSUER, "alpha")), "door.foreign_key"),
    ] {
        assert_eq!(ask(&client, &token).await, no(code), "{row}");
    }
    // The issuer changes its key: nobody starts anything again.
    let renewed = second.token(&payload(ISSUER, "alpha"));
    fs::write(&file, second.keys()).unwrap();
    place.daemon.until("the new key is known", async |client| ask(client, &renewed).await.is_ok()).await;
    assert_eq!(ask(&client, &token).await, no("door.foreign_key"), "and the old one is not");
    // What is no set of keys changes nothing.
    fs::write(&file, "<html>").unwrap();
    assert_eq!(ask(&client, &renewed).await, Ok("agent/alpha".into()));

    let suspend = |action: &'static str| (action, json!({ "principal": "agent/alpha" }));
    for ((action, arguments), denied) in [(suspend("security.suspend"), true), (suspend("security.resume"), false)] {
        operator.ask(Some(&root()), secret.expose(), action, arguments).await.yes();
        let listed = client.call("gap.list", &json!({}), Some(&renewed), None).await;
        assert_eq!(listed.is_err(), denied, "{action}");
    }
    let revoke = json!({ "credential": made["credential"] });
    operator.ask(Some(&root()), secret.expose(), "credential.revoke", revoke).await.yes();
    assert_eq!(ask(&client, &renewed).await, no("door.foreign_revoked"));

    // Who makes signatures up is told to wait, and nobody who has a key of his own.
    for _ in 0..5 {
        assert_eq!(ask(&client, &none).await, no("door.foreign_algorithm"));
    }
    assert_eq!(ask(&client, &none).await, no("door.locked_out"));
    assert_eq!(ask(&client, secret.expose()).await, Ok("operator/root".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_read_are_believed_for_a_while() {
    let mut place = Place::new();
    let signer = Signer::new("one");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (keys, up) = (signer.keys(), Arc::new(AtomicBool::new(true)));
    let serving = up.clone();
    let serve = move || {
        while serving.load(Ordering::SeqCst) {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{keys}", keys.len());
        }
    };
    #[expect(clippy::disallowed_methods, reason = "it blocks, and the test ends and joins it")]
    let server = std::thread::spawn(serve);
    place.daemon.configure(&format!(
        "http.issuers = [\"{OTHER} audience=sop algorithms=EdDSA keys=http://{address}/jwks?a=b refresh=1s max_age=3s\"]\n"
    ));
    place.daemon.start().await;
    let secret = place.daemon.credential();
    let mut operator = Client::new("operator", Arc::new(place.daemon.client()));
    adopt_starter(&mut operator, &secret).await;
    admit(&mut operator, &secret, "agent/alpha").await;
    let proof = json!({ "foreign": { "issuer": OTHER, "subject": "alpha" } });
    let make = json!({ "id": "0000000000000017", "principal": "agent/alpha", "proof": proof, "label": "idp" });
    operator.ask(Some(&root()), secret.expose(), "credential.create", make).await.yes();
    let token = signer.token(&payload(OTHER, "alpha"));
    place.daemon.until("the keys are read", async |client| ask(client, &token).await.is_ok()).await;
    up.store(false, Ordering::SeqCst);
    // The one that it waits for, if nobody else comes by.
    drop(std::net::TcpStream::connect(address));
    server.join().unwrap();
    let stale = Err("door.foreign_keys_stale".to_owned());
    place.daemon.until("the keys are too old", async |client| ask(client, &token).await == stale).await;
    assert_eq!(ask(&place.daemon.client(), secret.expose()).await, Ok("operator/root".into()));
    let tree = place.daemon.run(&["tree"]).stdout;
    assert!(tree.contains("issuer.1"), "{tree}");
    let log = fs::read_to_string(place.daemon.data.join("logs/sop_operations.log")).unwrap();
    assert!(log.contains("issuers.keys") && log.contains(OTHER), "the log says why");
}

/// Under TLS, by an authority of one's own; nobody else is believed. One issuer that is silent delays no other, and a token is
/// in no file.
#[tokio::test(flavor = "multi_thread")]
async fn keys_come_under_tls_and_tokens_stay_nowhere() {
    let mut place = Place::new();
    let signer = Signer::new("one");
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(place.home.path().join("ca.pem"), cert.pem()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth();
    let key = PrivateKeyDer::from_pem_slice(signing_key.serialize_pem().as_bytes()).unwrap();
    let server = server.with_single_cert(vec![cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys = signer.keys();
    #[expect(clippy::disallowed_methods, reason = "the test ends it")]
    let published = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Who does not believe the certificate goes away.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{keys}", keys.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let quiet = silent.local_addr().unwrap().port();
    let configured = |ca: &str| {
        format!(
            "log.level = \"trace\"\nhttp.issuers = [\"{ISSUER} audience=sop algorithms=EdDSA keys=http://127.0.0.1:{quiet}/jwks\", \
             \"{OTHER} audience=sop algorithms=EdDSA keys=https://localhost:{port}/jwks refresh=1s max_age=1h\"]\n{ca}"
        )
    };
    place.daemon.configure(&configured(""));
    place.daemon.start().await;
    let secret = place.daemon.credential();
    let mut operator = Client::new("operator", Arc::new(place.daemon.client()));
    adopt_starter(&mut operator, &secret).await;
    admit(&mut operator, &secret, "agent/alpha").await;
    let proof = json!({ "foreign": { "issuer": OTHER, "subject": "alpha" } });
    let make = json!({ "id": "0000000000000017", "principal": "agent/alpha", "proof": proof, "label": "idp" });
    operator.ask(Some(&root()), secret.expose(), "credential.create", make).await.yes();
    let token = signer.token(&payload(OTHER, "alpha"));
    let log = place.daemon.data.join("logs/sop_operations.log");
    place
        .daemon
        .until("it is said why", async |_| {
            fs::read_to_string(&log).is_ok_and(|log| log.contains("issuers.keys") && log.contains("ertificate"))
        })
        .await;
    assert_eq!(
        ask(&place.daemon.client(), &token).await,
        Err("door.foreign_keys_stale".to_owned()),
        "by nobody's word"
    );

    place.daemon.stop();
    place.daemon.configure(&configured("http.issuers_ca = \"../ca.pem\"\n"));
    place.daemon.start().await;
    place.daemon.until("the keys are read", async |client| ask(client, &token).await == Ok("agent/alpha".into())).await;
    let asked = place.daemon.client().call("todo.list", &json!({}), Some(&token), None).await;
    assert!(asked.is_ok(), "{asked:?}");
    let other = Signer::new("one");
    let forged = other.token(&payload(OTHER, "alpha"));
    assert_eq!(ask(&place.daemon.client(), &forged).await, Err("door.foreign_signature".to_owned()));
    published.abort();
    place.daemon.stop();
    let marks = [&token, &forged].map(|token| token.rsplit_once('.').unwrap().1.to_owned());
    let mut read = 0;
    for file in files(place.home.path()) {
        let bytes = fs::read(&file).unwrap();
        read += bytes.len();
        for mark in &marks {
            assert!(!bytes.windows(mark.len()).any(|window| window == mark.as_bytes()), "{}", file.display());
        }
    }
    assert!(10_000 < read, "there is something to look at");
}
