//! The same over TCP: under TLS, on this machine alone without, and in nobody's way on the socket.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{AddressError, Client, ClientError, Limits, Tcp, Tls, TlsError};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType, date_time_ymd, generate_simple_self_signed,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{Fake, SECRET, Served, command_id, read, request, start_with};

/// A certificate for this machine, which is its own authority, and its key.
struct Papers {
    certificate: PathBuf,
    key: PathBuf,
}

impl Papers {
    fn in_directory(directory: &Path, name: &str) -> Self {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let papers =
            Self { certificate: directory.join(format!("{name}.pem")), key: directory.join(format!("{name}.key")) };
        fs::write(&papers.certificate, cert.pem()).unwrap();
        fs::write(&papers.key, signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&papers.key, Permissions::from_mode(0o600)).unwrap();
        papers
    }

    fn load(&self) -> Result<Tls, TlsError> {
        Tls::load(&self.certificate, &self.key, None)
    }
}

/// A port that nobody listens on just now.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

struct Reached {
    served: Served,
    address: SocketAddr,
    papers: Papers,
}

impl Reached {
    async fn under_tls(limits: Limits) -> Self {
        Self::start(true, limits).await
    }

    async fn in_plain(limits: Limits) -> Self {
        Self::start(false, limits).await
    }

    async fn start(tls: bool, limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let papers = Papers::in_directory(directory.path(), "server");
        Self::start_in(directory, papers, tls, None, limits).await
    }

    async fn start_in(directory: TempDir, papers: Papers, tls: bool, client_ca: Option<&Path>, limits: Limits) -> Self {
        let (socket, api) = (directory.path().join("run/sock"), Arc::new(Fake::default()));
        let address = free();
        let tcp = Tcp { address, tls: tls.then(|| Tls::load(&papers.certificate, &papers.key, client_ca).unwrap()) };
        let (actor, ended) = start_with(&socket, Some(tcp), &api, limits).await.unwrap();
        Self { served: Served { api, actor, ended, socket, directory }, address, papers }
    }

    fn client(&self) -> Client {
        Client::over_tcp(&format!("https://localhost:{}", self.address.port()), Some(&self.papers.certificate)).unwrap()
    }

    fn plain(&self) -> Client {
        Client::over_tcp(&format!("http://{}", self.address), None).unwrap()
    }

    async fn stream(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_tls_everything_is_as_on_the_socket() {
    let reached = Reached::under_tls(Limits::default()).await;
    let client = reached.client();
    assert_eq!(client.get("/v1/status").await.unwrap(), json!({ "name": "fake" }));
    let answer = client.call("echo.write", &json!({ "a": 1 }), Some(SECRET), Some(command_id(1))).await.unwrap();
    assert_eq!((&answer["arguments"], &answer["bearer"]), (&json!({ "a": 1 }), &json!(SECRET)));
    assert_eq!(answer["source"], "Address(127.0.0.1)");
    let large = client.call("large.read", &json!({}), None, None).await.unwrap();
    assert_eq!(large.as_str().unwrap().len(), 8 << 20);
    let too_large = json!({ "text": "x".repeat(1 << 20) });
    let refused = client.call("echo.write", &too_large, None, None).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(problem) if problem.status == 413), "{refused}");
    let on_the_socket = Client::new(&reached.served.socket).call("echo.read", &json!({}), None, None).await.unwrap();
    assert!(on_the_socket["source"].as_str().unwrap().starts_with("Process"), "{on_the_socket}");
}

#[tokio::test]
async fn a_credential_is_not_shown_to_one_who_is_not_believed() {
    let reached = Reached::under_tls(Limits::default()).await;
    let other = Papers::in_directory(reached.served.directory.path(), "other");
    let address = format!("https://{}", reached.address);
    let elsewhere = format!("https://127.0.0.2:{}", reached.address.port());
    for (row, ca, address, answers) in
        [("another authority", &other, address, true), ("another name", &reached.papers, elsewhere, false)]
    {
        // A listener on 127.0.0.1 is not on 127.0.0.2, so the second one is not even reached.
        let client = Client::over_tcp(&address, Some(&ca.certificate)).unwrap();
        let error = client.call("echo.write", &json!({}), Some(SECRET), None).await.unwrap_err();
        match error {
            ClientError::Unbelieved { why, .. } if answers => assert!(why.contains("certificate"), "{row}: {why}"),
            ClientError::Unreachable { .. } if !answers => {}
            error => panic!("{row}: {error}"),
        }
    }
    assert!(reached.served.api.shown.lock().await.is_empty());
}

#[tokio::test]
async fn an_address_says_how_its_daemon_is_believed() {
    let directory = TempDir::new().unwrap();
    let papers = Papers::in_directory(directory.path(), "server");
    let over = |address: &str, ca: Option<&Path>| Client::over_tcp(address, ca).map(drop);
    let ca = Some(papers.certificate.as_path());
    for address in ["https://sop.example:8443", "https://[::1]:8443/", "https://10.0.0.1:8443"] {
        assert!(over(address, ca).is_ok(), "{address}");
        assert!(matches!(over(address, None), Err(AddressError::NoAuthority { .. })), "{address}");
    }
    for address in ["http://localhost:8443", "http://127.0.0.1:1", "http://[::1]:1"] {
        assert!(over(address, None).is_ok(), "{address}");
    }
    for address in ["http://sop.example:8443", "http://10.0.0.1:1", "http://localhost.evil.example:1"] {
        assert!(matches!(over(address, ca), Err(AddressError::Unprotected { .. })), "{address}");
    }
    for address in
        ["", "localhost:8443", "https://localhost", "ftp://localhost:1", "https://a:b@c:1", "https://a:1/v1", "x y"]
    {
        assert!(matches!(over(address, ca), Err(AddressError::Malformed { .. })), "{address}");
    }
    let nothing = over("https://localhost:1", Some(&papers.key)).unwrap_err();
    assert!(matches!(&nothing, AddressError::Tls(TlsError::Certificate { .. })), "{nothing}");
}

#[test]
fn a_certificate_needs_its_own_key_and_a_key_needs_its_owner() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (ours, other) = (Papers::in_directory(directory.path(), "a"), Papers::in_directory(directory.path(), "b"));
    assert!(ours.load().is_ok());
    fs::write(at("garbage"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::set_permissions(at("empty"), Permissions::from_mode(0o600)).unwrap();
    for (row, certificate, key, code, said) in [
        ("no certificate", at("absent"), ours.key.clone(), "http.tls_certificate", "No such file"),
        ("a directory", directory.path().into(), ours.key.clone(), "http.tls_certificate", "directory"),
        ("not one", ours.key.clone(), ours.key.clone(), "http.tls_certificate", "there is none in it"),
        ("empty", at("empty"), ours.key.clone(), "http.tls_certificate", "there is none in it"),
        ("garbage", at("garbage"), ours.key.clone(), "http.tls_certificate", "garbage"),
        ("no key", ours.certificate.clone(), at("absent"), "http.tls_key", "No such file"),
        ("an empty key", ours.certificate.clone(), at("empty"), "http.tls_key", "empty"),
        ("another's key", ours.certificate.clone(), other.key.clone(), "http.tls_key", "b.key"),
    ] {
        let error = Tls::load(&certificate, &key, None).unwrap_err();
        assert_eq!(error.code(), code, "{row}: {error}");
        assert!(error.to_string().contains(said) && !error.remedy().is_empty(), "{row}: {error}");
    }
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&ours.key, Permissions::from_mode(mode)).unwrap();
        let error = ours.load().unwrap_err();
        assert_eq!(error.code(), "http.tls_key_mode", "{error}");
        assert!(error.to_string().contains(&format!("{mode:04o}")) && error.remedy().contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&ours.key, Permissions::from_mode(0o400)).unwrap();
    assert!(ours.load().is_ok());
    // Not a word of the key is in what the log may show.
    assert_eq!(format!("{:?}", ours.load().unwrap()), "Tls(a certificate and its key)");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_something_else_is_cut_off_and_nobody_else_is() {
    let tls = Reached::under_tls(Limits::default()).await;
    let plain = Reached::in_plain(Limits::default()).await;
    let mut head = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    head.extend([0; 64]);
    for (row, reached, bytes) in [
        ("HTTP to TLS", &tls, head.as_slice()),
        ("nothing to TLS", &tls, b""),
        ("garbage to TLS", &tls, &[0xff; 4096]),
        ("a hello of no length", &tls, &[0x16, 3, 1, 0, 0]),
        ("nothing to HTTP", &plain, b""),
    ] {
        let mut stream = reached.stream().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Cut off in the middle of what it says, it may find its connection reset.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.windows(4).any(|word| word == b"HTTP"), "{row}: {answer:?}");
    }
    let mut stream = plain.stream().await;
    stream.write_all(&[0x16, 3, 1, 0, 200, 1, 0, 0, 0xc4, b'\r', b'\n', b'\r', b'\n']).await.unwrap();
    assert_eq!(read(&mut stream).await.status, 400, "hyper's own answer to what is no HTTP");
    let to_plain = Client::over_tcp(&format!("https://{}", plain.address), Some(&plain.papers.certificate)).unwrap();
    let error = to_plain.call("echo.write", &json!({}), Some(SECRET), None).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    let to_tls = Client::over_tcp(&format!("http://{}", tls.address), None).unwrap();
    let error = to_tls.get("/v1/status").await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol(_)), "{error}");

    assert!(tls.served.api.shown.lock().await.is_empty());
    assert!(plain.served.api.shown.lock().await.is_empty());
    assert!(tls.client().get("/v1/status").await.is_ok());
    assert!(plain.plain().get("/v1/status").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_is_let_go() {
    let limits = Limits {
        header_timeout: Duration::from_millis(50),
        request_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let (tls, plain) = (Reached::under_tls(limits).await, Reached::in_plain(limits).await);
    for (row, reached, bytes) in [
        ("not a word", &tls, &b""[..]),
        ("half a hello", &tls, &[0x16, 3, 1]),
        ("half a head", &plain, b"GET /v1/status HT"),
        (
            "half a body",
            &plain,
            b"POST /v1/echo.write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{",
        ),
    ] {
        let mut stream = reached.stream().await;
        stream.write_all(bytes).await.unwrap();
        // It ends, whatever it says before; a server that waits for ever hangs this test.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{row}");
    }
    // An answer that takes longer than this is not slow while somebody takes it.
    let client = tls.client();
    let answer = client.call("large.read", &json!({}), None, None).await.unwrap();
    assert_eq!(answer.as_str().unwrap().len(), 8 << 20, "and who reads gets it all");
}

#[tokio::test]
async fn a_web_page_is_not_a_program() {
    let plain = Reached::in_plain(Limits::default()).await;
    for (row, host, headers, status, code) in [
        ("a program", "127.0.0.1", &[][..], 200, ""),
        ("a rebound name", "evil.example", &[], 400, "http.host"),
        ("another site", "localhost", &["Origin: https://evil.example"], 400, "http.origin"),
    ] {
        let mut stream = plain.stream().await;
        let bytes = String::from_utf8(request("GET /v1/status", headers, b"")).unwrap();
        let bytes = bytes.replace("Host: sop", &format!("Host: {host}"));
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let answer = read(&mut stream).await;
        assert_eq!(answer.status, status, "{row}");
        assert!(code.is_empty() || answer.json()["code"] == code, "{row}: {:?}", answer.json());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fills_one_way_in_does_not_fill_the_other() {
    let limits = Limits { connections_max: 1, ..Limits::default() };
    let plain = Reached::in_plain(limits).await;
    let client = plain.plain();
    let asking = client.clone();
    let held = async move { asking.call("wait.begin", &json!({}), None, None).await };
    let look = async {
        plain.served.api.begun.pass().await;
        let full = client.get("/v1/status").await.unwrap_err();
        assert!(matches!(&full, ClientError::Refused(problem) if problem.code == "http.connections_full"), "{full}");
        let on_the_socket = Client::new(&plain.served.socket).get("/v1/status").await;
        plain.served.api.open.open();
        assert_eq!(on_the_socket.unwrap(), json!({ "name": "fake" }));
    };
    let (waited, ()) = tokio::join!(held, look);
    assert_eq!(waited.unwrap(), json!({ "waited": true }));
}

#[tokio::test]
async fn nobody_listens_for_others_without_tls_or_where_somebody_does() {
    let directory = TempDir::new().unwrap();
    let api = Arc::new(Fake::default());
    let start = async |tcp| {
        let started = start_with(&directory.path().join("sock"), Some(tcp), &api, Limits::default()).await;
        started.map(drop).unwrap_err().to_string()
    };
    for address in ["0.0.0.0:8443", "[::]:8443", "[::ffff:10.0.0.1]:1"] {
        let why = start(Tcp { address: address.parse().unwrap(), tls: None }).await;
        assert!(why.contains("there is no certificate"), "{why}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let why = start(Tcp { address: taken.local_addr().unwrap(), tls: None }).await;
    assert!(why.contains("another program listens on"), "{why}");
    let tls = Some(Papers::in_directory(directory.path(), "a").load().unwrap());
    // An address for documentation, which no machine has.
    let why = start(Tcp { address: "192.0.2.1:8443".parse().unwrap(), tls }).await;
    assert!(why.contains("cannot listen on 192.0.2.1:8443"), "{why}");
    assert!(!directory.path().join("sock").exists(), "the socket is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_and_a_kill_free_the_port() {
    let tls = Reached::under_tls(Limits::default()).await;
    // Open, greeted, and silent.
    let mut idle = tls.stream().await;
    tls.served.actor.stop(None);
    tls.served.ended.await.unwrap();
    assert_eq!(idle.read_to_end(&mut Vec::new()).await.unwrap_or(0), 0);

    for _ in 0..2 {
        let tcp = Tcp { address: tls.address, tls: Some(tls.papers.load().unwrap()) };
        let (actor, ended) =
            start_with(&tls.served.socket, Some(tcp), &tls.served.api, Limits::default()).await.unwrap();
        let client = Client::over_tcp(&format!("https://{}", tls.address), Some(&tls.papers.certificate)).unwrap();
        assert!(client.get("/v1/status").await.is_ok());
        actor.kill();
        ended.await.unwrap();
    }
}

/// An authority that vouches for clients.
struct Issuer {
    file: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Issuer {
    fn in_directory(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = directory.join(format!("{name}.pem"));
        fs::write(&file, issuer.pem()).unwrap();
        Self { file, issuer }
    }

    /// For a client, good until that year.
    fn client(&self, name: &str, year: i32, usage: ExtendedKeyUsagePurpose) -> Papers {
        let mut params = CertificateParams::new([format!("{name}.example")]).unwrap();
        let uri = format!("sop://agent/{name}");
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().unwrap()));
        params.extended_key_usages = vec![usage];
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let at = |kind: &str| self.file.with_file_name(format!("{name}-{year}.{kind}"));
        let papers = Papers { certificate: at("pem"), key: at("key") };
        fs::write(&papers.certificate, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&papers.key, key.serialize_pem()).unwrap();
        fs::set_permissions(&papers.key, Permissions::from_mode(0o600)).unwrap();
        papers
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_asked_for_a_certificate_and_may_have_none() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let directory = TempDir::new().unwrap();
    let at = directory.path().to_owned();
    let (ours, other) = (Issuer::in_directory(&at, "ours"), Issuer::in_directory(&at, "other"));
    let two = at.join("two.pem");
    fs::write(&two, fs::read_to_string(&other.file).unwrap() + &fs::read_to_string(&ours.file).unwrap()).unwrap();
    let strange = Issuer::in_directory(&at, "strange");
    let papers = Papers::in_directory(&at, "server");
    let reached = Reached::start_in(directory, papers, true, Some(&two), Limits::default()).await;
    let address = format!("https://localhost:{}", reached.address.port());
    let asks = async |papers: Option<&Papers>| {
        let papers = papers.map(|papers| http::Papers { certificate: &papers.certificate, key: &papers.key });
        let client = Client::over_tcp_as(&address, Some(&reached.papers.certificate), papers).unwrap();
        client.call("echo.read", &json!({}), None, None).await.map(|answer| answer["certificate"].clone())
    };
    assert_eq!(asks(None).await.unwrap(), json!(null), "who shows none gets as far as the door");
    let alpha = ours.client("alpha", 2030, ClientAuth);
    let shown = asks(Some(&alpha)).await.unwrap();
    let fingerprint = |file: &Path| json!(http::fingerprint_in(file).unwrap());
    assert_eq!(shown["fingerprint"], fingerprint(&alpha.certificate));
    assert_eq!(shown["authorities"], json!([fingerprint(&ours.file)]), "of the two, the one that vouches");
    assert_eq!(shown["names"], json!(["uri:sop://agent/alpha", "dns:alpha.example"]));
    assert_eq!(shown["until"], 1_893_456_001_000_u64);
    for (row, papers) in [
        ("of another authority", strange.client("alpha", 2031, ClientAuth)),
        ("expired", ours.client("alpha", 2001, ClientAuth)),
        ("for servers", ours.client("alpha", 2032, ServerAuth)),
        ("its own", Papers::in_directory(&at, "self")),
    ] {
        let error = asks(Some(&papers)).await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. } | ClientError::Protocol(_)), "{row}: {error}");
    }
    let calls = reached.served.api.shown.lock().await.len();
    assert_eq!(calls, 2, "nobody else got as far as a request");
}

#[test]
fn who_may_vouch_for_clients_is_read_strictly() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (ours, server) = (Issuer::in_directory(directory.path(), "a"), Papers::in_directory(directory.path(), "b"));
    fs::write(at("empty"), "").unwrap();
    fs::write(at("garbage"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    fs::write(at("many"), fs::read_to_string(&ours.file).unwrap().repeat(17)).unwrap();
    let load = |file: &Path| Tls::load(&server.certificate, &server.key, Some(file));
    assert!(load(&ours.file).is_ok());
    for (row, file, said) in [
        ("no file", at("absent"), "No such file"),
        ("a key", server.key.clone(), "there is none in it"),
        ("empty", at("empty"), "there is none in it"),
        ("garbage", at("garbage"), "garbage"),
        ("a whole store", at("many"), "there are 17"),
    ] {
        let error = load(&file).unwrap_err();
        assert_eq!(error.code(), "http.tls_client_ca", "{row}: {error}");
        assert!(error.to_string().contains(said) && error.remedy().contains("PEM"), "{row}: {error}");
    }
    for mode in [0o660, 0o646, 0o622] {
        fs::set_permissions(&ours.file, Permissions::from_mode(mode)).unwrap();
        let error = load(&ours.file).unwrap_err();
        assert_eq!(error.code(), "http.tls_client_ca_mode", "{error}");
        assert!(error.remedy().contains("chmod go-w"), "{error}");
    }
}
