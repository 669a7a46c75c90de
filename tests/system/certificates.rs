//! Clients that are known by a certificate: over TCP, by name and by fingerprint, rotated and revoked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{ClientError, Papers};
use identity::CredentialId;
use kit::{Client, admit, adopt_starter, root};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType, generate_simple_self_signed,
};
use serde_json::{Value, json};

use crate::Place;
use crate::tcp::{free, run};

/// A certificate and its key.
struct Own {
    certificate: PathBuf,
    key: PathBuf,
}

fn write(home: &Path, name: &str, certificate: &str, key: &str) -> Own {
    let own = Own { certificate: home.join(format!("{name}.pem")), key: home.join(format!("{name}.key")) };
    fs::write(&own.certificate, certificate).unwrap();
    fs::write(&own.key, key).unwrap();
    fs::set_permissions(&own.key, fs::Permissions::from_mode(0o600)).unwrap();
    own
}

fn client(home: &Path, authority: &CertifiedIssuer<'static, KeyPair>, file: &str, names: &[&str]) -> Own {
    let mut params = CertificateParams::default();
    let uri = |name: &&str| SanType::URI((*name).try_into().unwrap());
    params.subject_alt_names = names.iter().map(uri).collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    write(home, file, &params.signed_by(&key, authority).unwrap().pem(), &key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_a_credential_like_another() {
    let mut place = Place::new();
    let home = place.home.path().to_owned();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "mesh");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let ca = home.join("mesh.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let server = write(&home, "server", &cert.pem(), &signing_key.serialize_pem());
    let address = free();
    place.daemon.configure(&format!(
        "[http]\nlisten = \"{address}\"\n[http.tls]\ncertificate = \"../server.pem\"\nkey = \"../server.key\"\nclient_ca = \"../mesh.pem\"\n"
    ));
    place.daemon.start().await;
    let url = format!("https://localhost:{}", address.port());
    let secret = place.daemon.credential();
    let mut operator = Client::new("operator", Arc::new(place.daemon.client()));
    adopt_starter(&mut operator, &secret).await;
    for name in ["agent/alpha", "agent/beta"] {
        admit(&mut operator, &secret, name).await;
    }
    let far = |own: Option<&Own>| {
        let papers = own.map(|own| Papers { certificate: &own.certificate, key: &own.key });
        http::Client::over_tcp_as(&url, Some(&server.certificate), papers).unwrap()
    };
    let ask = async |own: Option<&Own>, bearer: Option<&str>| -> Result<Value, String> {
        match far(own).call("security.whoami", &json!({}), bearer, None).await {
            Ok(known) => Ok(known["principal"].clone()),
            Err(ClientError::Refused(problem)) => Err(problem.code.clone()),
            Err(other) => panic!("{other}"),
        }
    };
    let is = |name: &str| Ok(json!(name));
    let no = |code: &str| Err(code.to_owned());

    let named = client(&home, &authority, "alpha", &["sop://agent/alpha"]);
    let renewed = client(&home, &authority, "alpha-2", &["sop://agent/alpha"]);
    let other = client(&home, &authority, "beta", &["sop://agent/beta"]);
    assert_eq!(ask(None, None).await, no("door.no_credential"));
    assert_eq!(ask(Some(&named), None).await, no("door.certificate_unknown"));

    // Made with the command line, as an operator does.
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let sop = |arguments: &[&str]| {
        let done = place.daemon.run(arguments);
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
        done.stdout
    };
    let credentials = ["security", "credentials"];
    let made =
        [&credentials[..], &["--create", "agent/alpha", "--name", "uri:sop://agent/alpha", "--authority", &text(&ca)]];
    let told = sop(&made.concat());
    assert!(told.contains("uri:sop://agent/alpha by "), "{told}");
    assert_eq!(ask(Some(&named), None).await, is("agent/alpha"));
    assert_eq!(ask(Some(&renewed), None).await, is("agent/alpha"), "by its name, whichever certificate it is");
    assert_eq!(ask(Some(&other), None).await, no("door.certificate_unknown"));
    let made =
        [&credentials[..], &["--create", "agent/beta", "--certificate", &text(&other.certificate), "-o", "json"]];
    let made: Value = sop(&made.concat()).parse().unwrap();
    let beta = made["credential"].as_str().unwrap();
    assert_eq!(ask(Some(&other), None).await, is("agent/beta"));
    let listed = sop(&credentials);
    assert!(listed.contains("certificate_name") && listed.contains("uri:sop://agent/alpha by "), "{listed}");

    // Two that differ, and one that was stolen.
    assert_eq!(ask(Some(&named), Some(secret.expose())).await, no("door.credentials_differ"));
    assert_eq!(ask(None, Some(secret.expose())).await, is("operator/root"));
    let stolen =
        [&credentials[..], &["--create", "agent/alpha", "--certificate", &text(&named.certificate), "-o", "json"]];
    let stolen: Value = sop(&stolen.concat()).parse().unwrap();
    sop(&[&credentials[..], &["--revoke", stolen["credential"].as_str().unwrap()]].concat());
    assert_eq!(ask(Some(&named), None).await, no("door.certificate_revoked"));
    assert_eq!(ask(Some(&renewed), None).await, is("agent/alpha"), "nobody else is touched by it");

    // Both are good for a while; the first use of the new one ends the old one; so it stays over a crash.
    let next = client(&home, &authority, "beta-2", &[]);
    sop(&[&credentials[..], &["--rotate", beta, "--early", "--certificate", &text(&next.certificate)]].concat());
    assert_eq!(ask(Some(&other), None).await, is("agent/beta"));
    assert_eq!(ask(Some(&next), None).await, is("agent/beta"));
    assert_eq!(ask(Some(&other), None).await, no("door.certificate_expired"));
    place.daemon.kill();
    place.daemon.start().await;
    assert_eq!(ask(Some(&other), None).await, no("door.certificate_expired"));
    assert_eq!(ask(Some(&next), None).await, is("agent/beta"));
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    assert_eq!(status["strangers_denied"], 1, "counted since the start, and not recorded");

    // The command line itself is known by one.
    let whoami = run(
        &[
            "whoami",
            "--address",
            &url,
            "--ca",
            &text(&server.certificate),
            "--client-cert",
            &text(&next.certificate),
            "--client-key",
            &text(&next.key),
        ],
        &[],
    );
    assert!(whoami.stdout.contains("agent/beta"), "{whoami:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_connection_is_no_better_than_a_new_one() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut place = Place::new();
    let home = place.home.path().to_owned();
    let authority = {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    fs::write(home.join("mesh.pem"), authority.pem()).unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    write(&home, "server", &cert.pem(), &signing_key.serialize_pem());
    let address = free();
    place.daemon.configure(&format!(
        "[http]\nlisten = \"{address}\"\n[http.tls]\ncertificate = \"../server.pem\"\nkey = \"../server.key\"\nclient_ca = \"../mesh.pem\"\n"
    ));
    place.daemon.start().await;
    let secret = place.daemon.credential();
    let mut operator = Client::new("operator", Arc::new(place.daemon.client()));
    adopt_starter(&mut operator, &secret).await;
    admit(&mut operator, &secret, "agent/alpha").await;
    let own = client(&home, &authority, "alpha", &["sop://agent/alpha"]);
    let id = CredentialId(0x17);
    let proof = json!({ "certificate": http::fingerprint_in(&own.certificate).unwrap() });
    let make = json!({ "id": id, "principal": "agent/alpha", "proof": proof, "label": "card" });
    operator.ask(Some(&root()), secret.expose(), "credential.create", make).await.yes();

    let connector = connector(&cert, &own);
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let mut ask = async || {
        let request = "GET /v1/security.whoami HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Both answers are JSON objects of one line.
        while !answer.ends_with(b"}") {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..read]);
        }
        String::from_utf8(answer).unwrap()
    };
    let first = ask().await;
    assert!(first.starts_with("HTTP/1.1 200") && first.contains("agent/alpha"), "{first}");
    operator.ask(Some(&root()), secret.expose(), "credential.revoke", json!({ "credential": id })).await.yes();
    let next = ask().await;
    assert!(next.starts_with("HTTP/1.1 401") && next.contains("door.certificate_revoked"), "{next}");
}

/// A client of TLS that keeps its connection, as ours does not.
fn connector(server: &rcgen::Certificate, own: &Own) -> tokio_rustls::TlsConnector {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    let mut roots = RootCertStore::empty();
    roots.add(server.der().clone()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(&own.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}
