//! Over TCP: when it is asked for, under TLS, and to whoever has a credential.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use kit::Output;
use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::{Place, failed};

/// A port that nobody listens on just now.
pub fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A certificate for this machine and its key, in the home.
fn papers(place: &Place) -> (PathBuf, PathBuf) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (place.home.path().join("cert.pem"), place.home.path().join("key.pem"));
    fs::write(&certificate, cert.pem()).unwrap();
    fs::write(&key, signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    (certificate, key)
}

pub fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sop"));
    // A directory in which there is no store.
    let done = command.env_clear().envs(variables.iter().copied()).args(arguments).current_dir("/").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output { code: done.status.code(), stdout: text(done.stdout), stderr: text(done.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_works_from_afar() {
    let mut place = Place::new();
    let (certificate, _) = papers(&place);
    let address = free();
    place.daemon.configure(&format!(
        "[http]\nlisten = \"{address}\"\n[http.tls]\ncertificate = \"../cert.pem\"\nkey = \"../key.pem\"\n"
    ));
    place.daemon.start().await;
    let url = format!("https://localhost:{}", address.port());
    let welcome = fs::read_to_string(place.home.path().join("stdout")).unwrap();
    assert!(welcome.contains(&format!("https://{address}")), "{welcome}");

    let (ca, credential) = (certificate.to_str().unwrap(), place.daemon.data.join("credentials/operator"));
    let far = |command: &[&str]| run(&[command, &["--address", &url, "--ca", ca]].concat(), &[]);
    let status = far(&["status"]);
    assert_eq!((status.code, status.stdout.starts_with("state")), (Some(0), true), "{status:?}");
    failed(&far(&["policy", "list"]), 3, &["error[door.no_credential]"]);
    let listed = far(&["policy", "list", "--credential", credential.to_str().unwrap()]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let listed = run(
        &["policy", "list"],
        &[("SOP_ADDRESS", &url), ("SOP_CA", ca), ("SOP_CREDENTIAL", credential.to_str().unwrap())],
    );
    assert_eq!(listed.code, Some(0), "{listed:?}");
    failed(&run(&["status", "--address", &url], &[]), 1, &["error[cli.no_ca]", "--ca"]);
    failed(&run(&["status", "--address", &url.replace("https", "http")], &[]), 4, &["error[cli.no_answer]"]);
    failed(&run(&["status", "--address", "http://sop.example:1"], &[]), 1, &["error[cli.address]", "credential"]);
    // What it knows of strangers, it knows from both sides.
    assert_eq!(place.daemon.client().get("/v1/status").await.unwrap()["strangers_denied"], 1);

    // The operator's own credential, here in a directory where one would look, goes to no stranger.
    let data = place.daemon.data.to_str().unwrap();
    failed(&far(&["policy", "list", "--data", data]), 3, &["error[door.no_credential]"]);

    // A part that is killed comes back to the same port.
    place.daemon.kill();
    place.daemon.start().await;
    assert_eq!(far(&["status"]).code, Some(0));
}

#[test]
fn a_start_that_could_be_overheard_is_refused_before_anything_is_made() {
    let place = Place::new();
    let (certificate, key) = papers(&place);
    let tls = |certificate: &str| {
        format!(
            "[http]\nlisten = \"0.0.0.0:8443\"\n[http.tls]\ncertificate = \"{certificate}\"\nkey = \"../key.pem\"\n"
        )
    };
    for (row, file, words) in [
        (
            "no TLS",
            "[http]\nlisten = \"0.0.0.0:8443\"\n".to_owned(),
            ["error[config.conflict]", "http.listen", "[http.tls]"],
        ),
        ("no certificate", tls("../absent.pem"), ["error[http.tls_certificate]", "absent.pem", "PEM file"]),
        ("no key of its own", tls("../key.pem"), ["error[http.tls_certificate]", "none in it", "PEM file"]),
    ] {
        place.daemon.configure(&file);
        let started = place.daemon.run(&["up"]);
        failed(&started, 1, &words);
        assert_eq!(fs::read_dir(&place.daemon.data).unwrap().count(), 1, "{row}: there is only the configuration");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    place.daemon.configure(&tls(certificate.to_str().unwrap()));
    failed(&place.daemon.run(&["up"]), 1, &["error[http.tls_key_mode]", "mode 0644", "chmod 600"]);
    assert_eq!(fs::read_dir(&place.daemon.data).unwrap().count(), 1);
}

#[test]
fn a_port_that_is_taken_is_said_to_be() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    place.daemon.configure(&format!("http.listen = \"{}\"\n", taken.local_addr().unwrap()));
    failed(&place.daemon.run(&["up"]), 1, &["error[http.port_in_use]", "remedy: stop that program"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_this_machine_is_answered_and_no_page_of_another_site() {
    use std::io::{Read as _, Write as _};
    let mut place = Place::new();
    let address = free();
    place.daemon.configure(&format!("http.listen = \"{address}\"\n"));
    place.daemon.start().await;
    let status = run(&["status", "--address", &format!("http://{address}")], &[]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let mut page = std::net::TcpStream::connect(address).unwrap();
    page.write_all(b"GET /v1/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    page.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("http.host"), "{answer}");
}
