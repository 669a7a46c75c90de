//! What a configuration comes to: one row per answer.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Bytes, Certificate, Config, Origin, Place, Problem, Sources, Witness, socket};
use suites::{Domain, Policy};
use tempfile::TempDir;

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

/// A file with `text`, named on the command line.
fn file(text: &[u8]) -> (TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("my.toml");
    fs::write(&path, text).unwrap();
    let sources = Sources { config: Some(path), uid: 1000, ..Sources::default() };
    (directory, sources)
}

fn load(text: &str) -> Result<Config, Vec<Problem>> {
    let (_directory, sources) = file(text.as_bytes());
    Config::load(&sources)
}

#[test]
fn the_default_is_what_it_says() {
    let config = Config::load(&Sources { uid: 1000, ..Sources::default() }).unwrap();
    assert_eq!(config.store.data, Path::new("./sop-data"));
    assert_eq!(config.store.reserve, Bytes(64 << 20));
    assert_eq!((config.journal.group_records_max, config.journal.group_bytes_max), (4096, Bytes(1 << 20)));
    assert_eq!(config.journal.snapshot_every, 10_000);
    assert_eq!(config.journal.segment, Bytes(16 << 20));
    assert_eq!((config.host.permits, config.host.outcomes_max), (4096, 1_000_000));
    assert_eq!(config.door.body_max, Bytes(256 << 10));
    assert_eq!((config.door.limits.requests_per_second, config.door.limits.burst), (0, 100));
    assert_eq!(config.http.socket, Path::new("/tmp/sop-1000/sock"));
    assert_eq!((config.http.request_timeout, config.http.connections_max), (Duration::from_secs(30), 1024));
    assert_eq!((config.http.listen, &config.http.tls), (None, &None));
    assert_eq!((config.http.issuers, config.http.issuers_ca), (vec![], None));
    assert_eq!((config.log.level.as_str(), &config.log.origin), ("info", &None));
    assert_eq!((config.supervision.restarts, config.supervision.within), (5, Duration::from_secs(30)));
    assert_eq!(config.supervision.backoff_first, Duration::from_millis(100));
    assert_eq!(config.supervision.backoff_max, Duration::from_secs(30));
    assert_eq!(config.supervision.shutdown_deadline, Duration::from_secs(10));
    assert_eq!(config.backup.overdue_after, Duration::from_hours(24));
    assert_eq!((config.backup.target, config.backup.every, config.backup.verify_every), (Place::Data, None, None));
    let s3 = config.backup.s3;
    assert_eq!((s3.endpoint, s3.region.as_str(), s3.allow_http), (None, "us-east-1", false));
    assert_eq!((s3.ca, s3.credentials, s3.timeout, s3.attempts), (None, None, Duration::from_mins(1), 5));
    assert_eq!((config.backup.drill_every, config.backup.retention.last), (None, 0));
    let crypto = &config.crypto;
    assert_eq!((&crypto.root_key, &crypto.root_key_before), (&None, &None));
    assert_eq!(crypto.rotate_every, Some(Duration::from_hours(90 * 24)));
    let classes = config.retention;
    assert_eq!((classes.every, classes.authority, classes.operations, classes.messages), (None, None, None, None));
    assert_eq!(
        (config.scan.file_max, config.scan.files_max, config.scan.findings_max),
        (Bytes(2 << 20), 100_000, 5_000)
    );
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (row, text, code, key, place, said) in [
        ("section", "[htpt]", "config.unknown_section", Some("htpt"), Some((1, 2)), "did you mean `http`?"),
        ("strange section", "\n[xyzzy]", "config.unknown_section", Some("xyzzy"), Some((2, 2)), "sop config show"),
        ("no section", "permits = 1", "config.unknown_section", Some("permits"), Some((1, 1)), "`host.permits`"),
        (
            "key",
            "[http]\n\n  sokcet = \"x\"",
            "config.unknown_key",
            Some("http.sokcet"),
            Some((3, 3)),
            "did you mean `socket`?",
        ),
        ("key of another", "[http]\npermits = 1", "config.unknown_key", Some("http.permits"), Some((2, 1)), "[host]"),
        ("strange key", "[http]\nxyzzy = 1", "config.unknown_key", Some("http.xyzzy"), Some((2, 1)), "sop config show"),
        ("subsection", "[http.tlss]\na = 1", "config.unknown_key", Some("http.tlss"), None, "no such option"),
        ("subsection's", "[http.tls]\na = 1", "config.unknown_key", Some("http.tls.a"), Some((2, 1)), "no such option"),
        (
            "near",
            "[http.tls]\nkeys = 1",
            "config.unknown_key",
            Some("http.tls.keys"),
            Some((2, 1)),
            "did you mean `key`?",
        ),
        ("no subsection", "http.tls = 1", "config.unknown_key", Some("http.tls"), None, "no such option"),
        (
            "an address",
            "http.listen = \"8443\"",
            "config.invalid_value",
            Some("http.listen"),
            Some((1, 15)),
            "127.0.0.1:8443",
        ),
        ("a word", "http.pages = \"none\"", "config.invalid_value", Some("http.pages"), None, "\"local\" or \"all\""),
        ("a name", "http.listen = \"localhost:1\"", "config.invalid_value", Some("http.listen"), None, "IP address"),
        ("any port", "http.listen = \"[::1]:0\"", "config.out_of_range", Some("http.listen"), None, "port 0"),
        (
            "open",
            "http.listen = \"0.0.0.0:8443\"",
            "config.conflict",
            Some("http.listen"),
            Some((1, 15)),
            "0.0.0.0:8443 can be reached from other machines",
        ),
        (
            "open in disguise",
            "http.listen = \"[::ffff:10.0.0.1]:8443\"",
            "config.conflict",
            Some("http.listen"),
            None,
            "[http.tls]",
        ),
        (
            "half",
            "[http.tls]\nkey = \"k\"",
            "config.conflict",
            Some("http.tls.key"),
            Some((2, 7)),
            "certificate is missing",
        ),
        (
            "in vain",
            "[http.tls]\nkey = \"k\"\ncertificate = \"c\"",
            "config.conflict",
            Some("http.tls.certificate"),
            Some((3, 15)),
            "set http.listen",
        ),
        (
            "its own in vain",
            "[http.tls]\nnames = [\"sop\"]",
            "config.conflict",
            Some("http.tls.names"),
            Some((2, 9)),
            "set http.listen",
        ),
        (
            "its own without a root key",
            "http.listen = \"0.0.0.0:8443\"\nhttp.tls.names = [\"sop\"]",
            "config.conflict",
            Some("http.tls.names"),
            Some((2, 18)),
            "crypto.root_key",
        ),
        (
            "its own and another's",
            "[http.tls]\nnames = [\"sop\"]\nkey = \"k\"\ncertificate = \"c\"",
            "config.conflict",
            Some("http.tls.names"),
            Some((2, 9)),
            "set one of them",
        ),
        (
            "one name twice",
            "http.tls.names = [\"sop\", \"sop\"]",
            "config.invalid_value",
            Some("http.tls.names"),
            Some((1, 18)),
            "twice",
        ),
        (
            "no suite",
            "crypto.trust.suites = [\"rot13\"]",
            "config.invalid_value",
            Some("crypto.trust.suites"),
            Some((1, 23)),
            "rot13",
        ),
        (
            "a suite that makes nothing",
            "crypto.trust.suites = [\"rsa-pss-2048\"]",
            "config.invalid_value",
            Some("crypto.trust.suites"),
            Some((1, 23)),
            "makes nothing new",
        ),
        (
            "a suite that is too weak",
            "crypto.system.suites = [\"ed25519\"]\ncrypto.system.bits = 192",
            "config.invalid_value",
            Some("crypto.system.suites"),
            Some((1, 24)),
            "192",
        ),
        (
            "a strength that none has",
            "crypto.system.bits = 256",
            "config.invalid_value",
            Some("crypto.system.bits"),
            Some((1, 22)),
            "is allowed in the domain system",
        ),
        (
            "checked, and made",
            "crypto.trust.suites = [\"ed25519\"]\ncrypto.trust.checked = [\"ed25519\"]",
            "config.invalid_value",
            Some("crypto.trust.checked"),
            Some((2, 24)),
            "twice",
        ),
        (
            "under the floor",
            "crypto.trust.bits = 80",
            "config.out_of_range",
            Some("crypto.trust.bits"),
            Some((1, 21)),
            "112",
        ),
        (
            "no bucket",
            "backup.target = \"s3://a b\"",
            "config.invalid_value",
            Some("backup.target"),
            Some((1, 17)),
            "s3://bucket/prefix",
        ),
        (
            "no server",
            "backup.s3.endpoint = \"https://me:hunter2@host\"",
            "config.invalid_value",
            Some("backup.s3.endpoint"),
            Some((1, 22)),
            "found another text; write \"https://HOST\"",
        ),
        (
            "without TLS",
            "backup.s3.endpoint = \"http://host:9000\"",
            "config.conflict",
            Some("backup.s3.endpoint"),
            Some((1, 22)),
            "allow_http",
        ),
        (
            "a secret in the place of where it is",
            "crypto.root_key = \"correct horse battery staple\"",
            "config.invalid_value",
            Some("crypto.root_key"),
            Some((1, 19)),
            "found another text; write \"file:/PATH\"",
        ),
        (
            "a root key before none",
            "crypto.root_key_before = \"env:OLD\"",
            "config.conflict",
            Some("crypto.root_key_before"),
            Some((1, 26)),
            "set crypto.root_key",
        ),
        ("no region", "backup.s3.region = \"a/b\"", "config.invalid_value", Some("backup.s3.region"), None, "region"),
        (
            "no word",
            "backup.s3.allow_http = \"\"",
            "config.invalid_value",
            Some("backup.s3.allow_http"),
            None,
            "\"no\"",
        ),
        ("no table", "http = 5", "config.invalid_value", Some("http"), Some((1, 8)), "[http]"),
        ("tables", "[[http]]", "config.invalid_value", Some("http"), None, "not an array"),
        ("negative", "[host]\npermits = -1", "config.out_of_range", Some("host.permits"), Some((2, 11)), "from 1 to"),
        ("zero", "[host]\npermits = 0", "config.out_of_range", Some("host.permits"), Some((2, 11)), "0 is out"),
        (
            "huge",
            "[host]\npermits = 99999999999999999999999999999999999999999999",
            "config.out_of_range",
            Some("host.permits"),
            Some((2, 11)),
            "out of range",
        ),
        ("a text", "[host]\npermits = \"9\"", "config.invalid_value", Some("host.permits"), Some((2, 11)), "a string"),
        ("a float", "[host]\npermits = 1.5", "config.invalid_value", Some("host.permits"), Some((2, 11)), "a float"),
        ("a bool", "log.level = true", "config.invalid_value", Some("log.level"), Some((1, 13)), "a boolean"),
        (
            "duration",
            "http.request_timeout = \"soon\"",
            "config.invalid_value",
            Some("http.request_timeout"),
            Some((1, 24)),
            "duration",
        ),
        (
            "a bare duration",
            "http.request_timeout = 30",
            "config.invalid_value",
            Some("http.request_timeout"),
            Some((1, 24)),
            "in quotes",
        ),
        (
            "a long duration",
            "http.request_timeout = \"2h\"",
            "config.out_of_range",
            Some("http.request_timeout"),
            Some((1, 24)),
            "2h is out",
        ),
        ("size", "door.body_max = \"64 megs\"", "config.invalid_value", Some("door.body_max"), Some((1, 17)), "KiB"),
        ("no unit", "door.body_max = \"64\"", "config.invalid_value", Some("door.body_max"), Some((1, 17)), "KiB"),
        ("large", "door.body_max = \"1TiB\"", "config.out_of_range", Some("door.body_max"), Some((1, 17)), "64MiB"),
        (
            "too large to count",
            "door.body_max = \"99999999999TiB\"",
            "config.invalid_value",
            Some("door.body_max"),
            Some((1, 17)),
            "size",
        ),
        ("level", "log.level = \"inof\"", "config.invalid_value", Some("log.level"), Some((1, 13)), "`info`"),
        ("a name", "log.origin = \"our log\"", "config.invalid_value", Some("log.origin"), Some((1, 14)), "our log"),
        ("a key's", "log.origin = \"a+b\"", "config.invalid_value", Some("log.origin"), Some((1, 14)), "a+b"),
        (
            "a witness",
            "log.witnesses = \"x\"",
            "config.invalid_value",
            Some("log.witnesses"),
            Some((1, 17)),
            "a string",
        ),
        ("issuers", "http.issuers = \"x\"", "config.invalid_value", Some("http.issuers"), None, "array of strings"),
        (
            "an issuer",
            "http.issuers = [\"https://i audience=sop algorithms=HS256 keys=k\"]",
            "config.invalid_value",
            Some("http.issuers"),
            None,
            "HS256",
        ),
        ("of numbers", "log.witnesses = [1]", "config.invalid_value", Some("log.witnesses"), None, "other things"),
        ("quorum", "log.quorum = 1", "config.conflict", Some("log.quorum"), Some((1, 14)), "1 of 0 witnesses"),
        ("an exception", "log.level = \"info,http=loud\"", "config.invalid_value", Some("log.level"), None, "loud"),
        ("empty data", "store.data = \"\"", "config.invalid_value", Some("store.data"), Some((1, 14)), "empty"),
        (
            "back-off",
            "[supervision]\nbackoff_first = \"1m\"",
            "config.conflict",
            Some("supervision.backoff_max"),
            None,
            "30s is shorter than backoff_first, 1m",
        ),
        (
            "reserve",
            "[store]\nreserve = \"1MiB\"\n[journal]\ngroup_bytes_max = \"2MiB\"",
            "config.conflict",
            Some("store.reserve"),
            Some((2, 11)),
            "does not hold",
        ),
        ("not TOML", "[http]\nsocket : x", "config.malformed", None, Some((2, 8)), "toml.io"),
        ("twice", "[log]\nlevel = \"info\"\nlevel = \"warn\"", "config.malformed", None, Some((3, 1)), "duplicate"),
    ] {
        let (directory, sources) = file(text.as_bytes());
        let problems = Config::load(&sources).expect_err(row);
        assert_eq!(problems.len(), 1, "{row}: {problems:?}");
        let problem = &problems[0];
        assert_eq!((problem.code, problem.key.as_deref()), (code, key), "{row}: {problem}");
        assert!(problem.to_string().contains(said), "{row}: {problem}");
        assert!(!problem.remedy.is_empty(), "{row}");
        if place.is_some() {
            assert_eq!(problem.place, place, "{row}: {problem}");
            assert_eq!(problem.file, sources.config, "{row}");
        }
        drop(directory);
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let problems = load("[http]\nconnections_max = 0\nrequest_timeout = \"x\"\n[log]\nlevel = 1").unwrap_err();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_deref().unwrap()).collect();
    assert_eq!(keys, ["http.request_timeout", "http.connections_max", "log.level"]);
    let problems = load("a = 1\nb = 1\n[http]\nc = 1").unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let (directory, mut sources) = file(b"[log]\nlevel = \"\xff\"\n");
    let problem = |sources: &Sources| Config::load(sources).unwrap_err().remove(0);
    let not_utf8 = problem(&sources);
    assert_eq!((not_utf8.code, not_utf8.place), ("config.not_utf8", Some((2, 10))), "{not_utf8}");

    let path = directory.path().join("absent.toml");
    sources.config = Some(path.clone());
    let missing = problem(&sources);
    assert_eq!((missing.code, missing.file), ("config.unreadable", Some(path.clone())));
    sources.config = None;
    sources.environment.insert("SOP_CONFIG".into(), path.into());
    assert_eq!(problem(&sources).code, "config.unreadable", "the environment names it as well");
    sources.config = Some(directory.path().to_owned());
    assert_eq!(problem(&sources).code, "config.unreadable", "a directory is no file");

    let closed = directory.path().join("closed.toml");
    fs::write(&closed, "").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let root_reads_it_all_the_same = fs::read(&closed).is_ok();
    sources.config = Some(closed);
    match Config::load(&sources) {
        Ok(_) => assert!(root_reads_it_all_the_same),
        Err(problems) => assert_eq!(problems[0].code, "config.unreadable"),
    }
}

#[test]
fn tcp_is_for_this_machine_or_under_tls() {
    for address in ["127.0.0.1:8443", "127.8.8.8:1", "[::1]:8443", "[::ffff:127.0.0.1]:8443"] {
        let config = load(&format!("http.listen = \"{address}\"")).unwrap();
        assert_eq!((config.http.listen, config.http.tls), (Some(address.parse().unwrap()), None));
    }
    let text = b"http.listen = \"0.0.0.0:8443\"\n[http.tls]\ncertificate = \"tls/c.pem\"\nkey = \"/k.pem\"";
    let (directory, sources) = file(text);
    let config = Config::load(&sources).unwrap();
    let files = Certificate::Files { certificate: directory.path().join("tls/c.pem"), key: "/k.pem".into() };
    let expected = config::Tls { certificate: files, client_ca: None };
    assert_eq!(config.http.tls, Some(expected), "a path counts from the file it is in");
    assert!(config.print().contains("\n[http.tls]\ncertificate = "), "{}", config.print());
    assert_eq!(load(&config.print()).unwrap().http.listen, config.http.listen);
    let text = "http.listen = \"0.0.0.0:8443\"\ncrypto.root_key = \"env:P\"\n[http.tls]\nnames = [\"sop\", \"::1\"]";
    let names = vec!["sop".to_owned(), "::1".to_owned()];
    let own = Certificate::Own { names, lifetime: Duration::from_hours(30 * 24) };
    assert_eq!(load(text).unwrap().http.tls, Some(config::Tls { certificate: own, client_ca: None }));
}

#[test]
fn a_domain_uses_what_is_named_and_of_other_kinds_the_usual() {
    let usual = load("").unwrap().crypto.suites;
    assert_eq!(usual, Policy::default());
    let text = "crypto.trust.suites = [\"ecdsa-p256\", \"ed25519\"]\ncrypto.trust.checked = [\"rsa-pss-2048\"]\ncrypto.trust.bits = 112";
    let config = load(text).unwrap();
    let policy = &config.crypto.suites;
    let names = |suites: &mut dyn Iterator<Item = suites::Suite>| suites.map(suites::Suite::name).collect::<Vec<_>>();
    let signatures = |domain| policy.makes(domain).filter(|suite| suite.kind() == suites::Kind::Signature);
    assert_eq!(names(&mut signatures(Domain::Trust)), ["ecdsa-p256", "ed25519"]);
    assert_eq!(names(&mut policy.checks(Domain::Trust)), ["rsa-pss-2048"]);
    assert_eq!((policy.bits(Domain::Trust), policy.bits(Domain::System)), (112, 128));
    let ciphers =
        |policy: &Policy| policy.makes(Domain::Trust).filter(|suite| suite.kind() == suites::Kind::Cipher).count();
    assert_eq!(ciphers(policy), ciphers(&usual));
    assert_eq!(load(&config.print()).unwrap().crypto, config.crypto, "what is printed is what is in force");
}

#[test]
fn the_later_layer_wins() {
    let (directory, mut sources) = file(b"store.data = \"from-file\"\nhttp.socket = \"s\"\nhost.permits = 7");
    let at = |config: &Config, key: &str| config.origin(key).unwrap().clone();
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.store.data, directory.path().join("from-file"), "a path counts from the file it is in");
    assert_eq!(config.http.socket, directory.path().join("s"));
    assert_eq!(config.host.permits, 7);
    let from_file = Origin::File { path: sources.config.clone().unwrap(), line: 3, column: 16 };
    assert_eq!((at(&config, "host.permits"), at(&config, "host.outcomes_max")), (from_file, Origin::Default));

    sources.environment = variables(&[("SOP_DATA", "from-variable"), ("SOP_SOCKET", "from/variable")]);
    let config = Config::load(&sources).unwrap();
    assert_eq!(
        (config.store.data.to_str(), config.http.socket.to_str()),
        (Some("from-variable"), Some("from/variable"))
    );
    assert_eq!(at(&config, "store.data"), Origin::Environment("SOP_DATA"));

    sources.data = Some("from-flag".into());
    sources.socket = Some("from/flag".into());
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.store.data.to_str(), config.http.socket.to_str()), (Some("from-flag"), Some("from/flag")));
    assert_eq!(at(&config, "http.socket"), Origin::Flag("--socket"));

    sources.data = Some(PathBuf::new());
    let empty = Config::load(&sources).unwrap_err();
    assert!(empty[0].message.contains("--data"), "{}", empty[0]);
}

#[test]
fn a_file_in_the_data_directory_is_found() {
    let data = tempfile::tempdir().unwrap();
    let sources = Sources { data: Some(data.path().to_owned()), ..Sources::default() };
    assert_eq!(Config::load(&sources).unwrap().host.permits, 4096, "it need not be there");
    fs::write(data.path().join("sop.toml"), "host.permits = 9").unwrap();
    assert_eq!(Config::load(&sources).unwrap().host.permits, 9);

    let (_directory, named) = file(b"host.permits = 10");
    let both = Sources { config: named.config, ..sources.clone() };
    assert_eq!(Config::load(&both).unwrap().host.permits, 10, "a named one is read in its place");

    fs::write(data.path().join("sop.toml"), "store.data = \"elsewhere\"").unwrap();
    let problems = Config::load(&sources).unwrap_err();
    assert_eq!((problems[0].code, problems[0].key.as_deref()), ("config.conflict", Some("store.data")));
}

#[test]
fn the_place_of_the_socket() {
    let configured = || {
        let origin = Origin::File { path: "/etc/sop.toml".into(), line: 1, column: 1 };
        Some((PathBuf::from("/from/file"), origin))
    };
    let all = [("SOP_SOCKET", "/from/variable"), ("XDG_RUNTIME_DIR", "/run/user/7")];
    for (row, flag, set, configured, expected) in [
        ("the flag wins", Some("/from/flag"), &all[..], configured(), "/from/flag"),
        ("then the variable", None, &all, configured(), "/from/variable"),
        ("then the file", None, &all[1..], configured(), "/from/file"),
        ("then the runtime directory", None, &all[1..], None, "/run/user/7/sop/sock"),
        ("else a place of the user's own", None, &[], None, "/tmp/sop-1007/sock"),
        ("set to nothing is not set", None, &[("SOP_SOCKET", ""), ("XDG_RUNTIME_DIR", "")], None, "/tmp/sop-1007/sock"),
        ("a relative runtime directory is ignored", None, &[("XDG_RUNTIME_DIR", "run")], None, "/tmp/sop-1007/sock"),
    ] {
        let sources =
            Sources { socket: flag.map(PathBuf::from), environment: variables(set), uid: 1007, ..Sources::default() };
        assert_eq!(socket(&sources, configured).0, Path::new(expected), "{row}");
    }
}

#[test]
fn what_is_printed_reads_back() {
    let (directory, mut sources) = file(b"[supervision]\nwithin = \"90s\"\n[log]\nlevel = \"warn,http=trace\"");
    sources.data = Some("/a \"strange\"\\place\n\u{7f}".into());
    sources.socket = Some("/run/sop/sock".into());
    let config = Config::load(&sources).unwrap();
    let printed = config.print();
    let path = directory.path().join("my.toml");
    assert!(printed.contains(&format!("within = \"1m 30s\"  # {}:2\n", path.display())), "{printed}");
    assert!(printed.contains("reserve = \"64MiB\"  # default\n"), "{printed}");
    assert!(printed.contains("socket = \"/run/sop/sock\"  # --socket\n"), "{printed}");

    let again = load(&printed).unwrap();
    assert_eq!(again.store, config.store);
    assert_eq!((&again.journal, &again.host, &again.door), (&config.journal, &config.host, &config.door));
    assert_eq!((&again.http, &again.log, &again.scan), (&config.http, &config.log, &config.scan));
    assert_eq!(again.supervision, config.supervision);
}

#[test]
fn issuers_are_each_a_line_and_named_once() {
    let line = |number: usize| format!("\"https://i{number} audience=sop algorithms=ES256 keys=k/{number}.json\"");
    let lines = |count: usize| (0..count).map(line).collect::<Vec<_>>().join(", ");
    let (directory, sources) = file(format!("http.issuers = [{}]", lines(16)).as_bytes());
    let config = Config::load(&sources).unwrap();
    let keys = directory.path().join("k/3.json");
    assert_eq!(config.http.issuers.len(), 16);
    assert_eq!(config.http.issuers[3].keys, config::KeysAt::File(keys.clone()), "a path counts from the file it is in");
    assert!(config.print().contains(&format!("keys={}\"", keys.display())), "{}", config.print());
    assert_eq!(load(&config.print()).unwrap().http, config.http, "what is printed reads back");
    for (text, said) in [(lines(17), "more than 16"), (format!("{0}, {0}", line(1)), "https://i1 twice")] {
        let problems = load(&format!("http.issuers = [{text}]")).unwrap_err();
        assert!(problems[0].message.contains(said), "{problems:?}");
    }
}

#[test]
fn a_name_that_is_not_text_is_a_path_all_the_same() {
    let strange = OsString::from_vec(b"/data/\xff".to_vec());
    let sources = Sources { data: Some(strange.clone().into()), ..Sources::default() };
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.store.data, Path::new(&strange));
    assert!(load(&config.print()).is_ok(), "{}", config.print());
}

#[test]
fn sizes_read_and_print_as_people_write_them() {
    for (text, size, printed) in [
        ("0B", 0, "0B"),
        ("512B", 512, "512B"),
        ("1024B", 1024, "1KiB"),
        ("64 MiB", 64 << 20, "64MiB"),
        ("1536KiB", 1536 << 10, "1536KiB"),
        ("16777215TiB", 16_777_215 << 40, "16777215TiB"),
    ] {
        assert_eq!(text.parse(), Ok(Bytes(size)), "{text}");
        assert_eq!(Bytes(size).to_string(), printed);
    }
    for text in ["", "B", "1", "-1B", "1.5MiB", "1mib", "1MB", "MiB", "1 2B", "16777216TiB", "١KiB"] {
        assert!(text.parse::<Bytes>().is_err(), "{text}");
    }
}

/// Takes the `#` from each option, and from no explanation.
fn uncommented(text: &str) -> String {
    let option = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    let lines: Vec<_> = text.lines().map(|line| if option(line) { &line[1..] } else { line }).collect();
    lines.join("\n") + "\n"
}

#[test]
fn the_template_changes_nothing_until_it_is_edited() {
    let defaults = Config::load(&Sources { uid: 1000, ..Sources::default() }).unwrap();
    for beside_the_data in [false, true] {
        let text = config::template(beside_the_data);
        let config = load(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(config, defaults, "not even an origin differs");
        let is_value = |c: char| c == '"' || c.is_ascii_digit();
        assert!(text.strip_suffix('\n').is_some_and(|text| text.ends_with(is_value)), "it ends with a line: {text:?}");
        assert!(!text.contains("compiled in"), "what the default says of itself is not said of this file");
    }
}

#[test]
fn every_option_of_the_template_can_be_uncommented() {
    let data = tempfile::tempdir().unwrap();
    let text = uncommented(&config::template(true));
    fs::write(data.path().join("sop.toml"), &text).unwrap();
    let found = Config::load(&Sources { data: Some(data.path().to_owned()), uid: 1000, ..Sources::default() });
    let found = found.unwrap_or_else(|problems| panic!("{problems:?}"));
    let defaults = Config::load(&Sources { uid: 1000, ..Sources::default() }).unwrap();
    assert_eq!(
        (&found.store.reserve, &found.http, &found.log),
        (&defaults.store.reserve, &defaults.http, &defaults.log)
    );
    for (key, _, origin) in found.options() {
        let set = matches!(origin, Origin::File { .. });
        assert!(set || ["store.data", "http.socket"].contains(&key), "{key} is from {origin}");
    }

    let text = uncommented(&config::template(false));
    let named = load(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(matches!(named.origin("store.data"), Some(Origin::File { .. })), "elsewhere it can be named");
    assert!(uncommented(&text).contains("data = \"./sop-data\"\n"));
}

#[test]
fn one_of_two_places_holds_the_file() {
    let mut sources = Sources { data: Some("/d".into()), ..Sources::default() };
    let files = |sources: &Sources| Config::files(sources);
    assert_eq!((files(&sources).named, files(&sources).beside_the_data), (None, "/d/sop.toml".into()));
    sources.environment = variables(&[("SOP_CONFIG", "/etc/sop.toml")]);
    assert_eq!(files(&sources).named, Some("/etc/sop.toml".into()));
    sources.config = Some("/my.toml".into());
    assert_eq!(files(&sources).named, Some("/my.toml".into()));
    assert_eq!(files(&Sources::default()).beside_the_data, Path::new("./sop-data/sop.toml"));
}

#[test]
fn an_object_store_is_named_where_the_program_can_use_one() {
    let text = "[backup]\ntarget = \"s3://backups/sop\"\n[backup.s3]\nendpoint = \"http://127.0.0.1:9/\"\nallow_http = \"yes\"";
    match load(text) {
        Ok(config) if cfg!(feature = "object-store") => {
            let Place::Bucket(address) = config.backup.target else { panic!("{:?}", config.backup.target) };
            assert_eq!((&*address.bucket, &*address.prefix), ("backups", "sop"));
            assert_eq!(config.backup.s3.endpoint.as_deref(), Some("http://127.0.0.1:9"));
        }
        Err(problems) if !cfg!(feature = "object-store") => {
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert_eq!((problem.code, problem.place), ("config.not_built", Some((2, 10))));
            assert!(problem.remedy.contains("--features object-store"), "{problem}");
        }
        found => panic!("{found:?}"),
    }
    let sources = Sources {
        environment: variables(&[("AWS_REGION", "eu-central-1"), ("AWS_ENDPOINT_URL", "https://s3.example")]),
        ..Sources::default()
    };
    let config = Config::load(&sources).unwrap();
    assert_eq!(
        (config.backup.s3.region.as_str(), config.backup.s3.endpoint.as_deref()),
        ("eu-central-1", Some("https://s3.example"))
    );
    assert_eq!(config.origin("backup.s3.region"), Some(&Origin::Environment("AWS_REGION")));
}

const FIRST: &str = "w.example/1+961f36d7+BAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
const SECOND: &str = "w.example/2+91bf4d86+BAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";

#[test]
fn witnesses_are_named_by_key_and_address() {
    for (row, address, expected) in [
        ("by hand", "", None),
        ("a host", " https://w.example", Some("https://w.example")),
        ("a path", " https://w.example/a/b/", Some("https://w.example/a/b")),
        ("a port", " http://127.0.0.1:80", Some("http://127.0.0.1:80")),
        ("IPv6", " http://[::1]:80/x", Some("http://[::1]:80/x")),
    ] {
        let found: Witness = format!("{FIRST}{address}").parse().unwrap_or_else(|error| panic!("{row}: {error}"));
        assert_eq!((found.name.as_str(), found.key), ("w.example/1", [7; 32]), "{row}");
        assert_eq!(found.address.as_deref(), expected, "{row}");
    }
    for (row, text, why) in [
        ("nothing", String::new(), "no vkey"),
        ("a name", "w.example/1".to_owned(), "no vkey"),
        ("no name", FIRST.replacen("w.example/1", "", 1), "no vkey"),
        ("another name", FIRST.replacen("w.example/1", "w.example/3", 1), "damaged"),
        ("another key", FIRST.replacen("BwcH", "BwcI", 1), "damaged"),
        ("no base64", FIRST.replacen("BwcH", "Bw!H", 1), "no vkey"),
        ("of a log", "w.example/1+6fae40c3+AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH".to_owned(), "that of a log"),
        ("ML-DSA", "w.example/1+97bb1aba+BgcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH".to_owned(), "of algorithm 6"),
        ("short", "w.example/1+70074456+BAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".to_owned(), "no vkey"),
        ("no scheme", format!("{FIRST} w.example"), "w.example is no address"),
        ("a file", format!("{FIRST} file:///etc"), "no address"),
        ("no host", format!("{FIRST} https:///x"), "no address"),
        ("who", format!("{FIRST} https://a:b@w.example"), "no address"),
        ("port 0", format!("{FIRST} https://w.example:0"), "no address"),
        ("a port of words", format!("{FIRST} https://w.example:http"), "no address"),
        ("a question", format!("{FIRST} https://w.example/?a"), "no address"),
        ("two spaces", format!("{FIRST}  https://w.example"), "no address"),
        ("two addresses", format!("{FIRST} https://w.example https://x.example"), "no address"),
    ] {
        let error = text.parse::<Witness>().expect_err(row).to_string();
        assert!(error.contains(why), "{row}: {error}");
    }
    let log = |options: String| load(&format!("[log]\n{options}\n"));
    let config = log(format!("witnesses = [\"{FIRST} https://w.example\", \"{SECOND}\"]\nquorum = 2")).unwrap();
    assert_eq!((config.log.witnesses.len(), config.log.quorum), (2, 2));
    let printed = config.print();
    let line = format!("witnesses = [\"{FIRST} https://w.example\", \"{SECOND}\"]");
    assert!(printed.contains(&line), "{printed}");
    for (options, why) in [
        (format!("witnesses = [\"{FIRST}\", \"{FIRST} https://w.example\"]"), "one name or key"),
        (format!("witnesses = [\"{FIRST}\"]\nquorum = 2"), "2 of 1 witnesses"),
        (format!("witnesses = [\"{FIRST}\", \"x\"]"), "no vkey"),
    ] {
        let problems = log(options).unwrap_err();
        assert!(problems[0].to_string().contains(why), "{problems:?}");
    }
}
