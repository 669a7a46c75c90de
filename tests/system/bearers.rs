//! The bearer form of tokens: signed by the keystore, whatever becomes of its keys, and shown as the credential of a request.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use door::{Secret, SecretKind};
use host::Clock;
use kit::{Authority, Client, Output, admit, adopt_starter};
use serde_json::{Value, json};

use crate::keys::{asked, configured, started, unsealed};
use crate::{Place, failed};

const ROOT: u8 = 1;

/// With an agent, and a key that signs tokens.
async fn ready() -> Place {
    let mut place = started(Some(ROOT)).await;
    unsealed(&mut place, true).await;
    let root = place.daemon.credential();
    let mut client = Client::new("setup", Arc::new(place.daemon.client()));
    admit(&mut client, &root, "agent/a").await;
    place
}

fn at(place: &Place, name: &str) -> String {
    place.home.path().join(name).to_str().unwrap().to_owned()
}

/// A token for an operation of the authority; its id.
fn issue(place: &Place, operation: &str, uses: &str, name: &str) -> Output {
    let (secret, form) = (at(place, &format!("{name}.secret")), at(place, name));
    let what = ["token", "issue", "--kind", "operation", "--subject", "agent/a", "--audience", "sop"];
    let how =
        ["--operation", operation, "--uses", uses, "--secret-file", &secret, "--bearer-file", &form, "-o", "json"];
    place.daemon.run(&[&what[..], &how].concat())
}

fn issued(place: &Place, operation: &str, uses: &str, name: &str) -> String {
    let told = issue(place, operation, uses, name);
    let told: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
    told["id"].as_str().unwrap().to_owned()
}

/// Asks by what is in a file.
fn by(place: &Place, name: &str, what: &[&str]) -> Output {
    place.daemon.run(&[&["--credential", &at(place, name)], what].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_the_credential_of_a_request() {
    let mut place = ready().await;
    place.daemon.stop();
    let file = fs::read_to_string(place.daemon.data.join("sop.toml")).unwrap();
    place.daemon.configure(&format!("{file}\n[log]\nlevel = \"trace\"\n"));
    place.daemon.start().await;
    unsealed(&mut place, true).await;
    let id = issued(&place, "gap.list", "4", "form");
    let narrow = |what: &[&str], to: &str| {
        let (from, to) = (at(&place, "form"), at(&place, to));
        let told = place.daemon.run(&[&["token", "attenuate", "--secret-file", &from, "--out", &to], what].concat());
        assert_eq!(told.code, Some(0), "{told:?}");
    };
    let sign = at(&place, "sign");
    assert_eq!(place.daemon.run(&["token", "new-key", &sign]).code, Some(0));
    narrow(&["--operation", "gap.list", "--from", "agent/a", "--to", "agent/b", "--sign-with", &sign], "less");
    narrow(&["--operation", "todo.list"], "other");
    narrow(&["--until", "2020-01-01T00:00:00Z"], "over");
    fs::write(at(&place, "long"), format!("sop_bt_{}\n", "A".repeat(16 << 10))).unwrap();
    let text = fs::read_to_string(at(&place, "form")).unwrap();
    let (head, tail) = text.trim_end().split_at(text.len() - 40);
    let swapped: String = tail.chars().map(|one| if one == 'A' { 'B' } else { 'A' }).collect();
    fs::write(at(&place, "forged"), format!("{head}{swapped}\n")).unwrap();
    let list = ["gap", "list"];
    for (name, code) in [
        ("form", None),
        ("less", None),
        ("other", Some("bearer.not_for")),
        ("over", Some("bearer.not_for")),
        ("long", Some("bearer.too_long")),
        ("forged", Some("bearer.forged")),
    ] {
        let told = by(&place, name, &list);
        match code {
            None => assert_eq!(told.code, Some(0), "{name}: {told:?}"),
            Some(code) => failed(&told, 3, &[code, "remedy"]),
        }
    }
    failed(&by(&place, "less", &["todo", "list"]), 3, &["door.not_capable"]);
    assert_eq!(by(&place, "form.secret", &list).code, Some(0), "the same uses by its secret");

    // What signed it need not be opened to verify it, and a kill forgets nothing that matters.
    place.daemon.kill();
    place.daemon.configure("");
    place.daemon.start().await;
    unsealed(&mut place, false).await;
    assert_eq!(by(&place, "less", &list).code, Some(0));
    failed(&by(&place, "less", &list), 3, &["tokens.exhausted"]);
    let late = issue(&place, "gap.list", "1", "late");
    assert!(late.code == Some(1) && late.stdout.contains("crypto.sealed"), "{late:?}");
    let shown = place.daemon.run(&["token", "list", "-o", "json"]);
    let listed: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(listed["tokens"].as_array().map(Vec::len), Some(1), "nothing was issued that could not be written");

    // A revoked key takes what it signed with it; the same token is good by another form, once there is another key.
    place.daemon.stop();
    configured(&place, ROOT, None);
    place.daemon.start().await;
    unsealed(&mut place, true).await;
    let second = issued(&place, "gap.list", "2", "second");
    assert_eq!(by(&place, "second", &list).code, Some(0));
    let keys = |all: &[&str]| {
        let told = place.daemon.run(&[&["-o", "json", "token", "key"], all].concat());
        serde_json::from_str::<Value>(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"))
    };
    assert_eq!(keys(&[])["version"], "token-root.1");
    asked(&place, &["keys", "--rotate", "token-root"]);
    assert_eq!(keys(&[])["version"], "token-root.2");
    let validate = |id: &str, name: &str| {
        let form = at(&place, name);
        let about = ["--audience", "sop", "--operation", "gap.list", "--secret-file", &form];
        place.daemon.run(&[&["token", "validate", id], &about[..]].concat())
    };
    assert_eq!(validate(&second, "second").code, Some(0), "what the one before signed counts");
    asked(&place, &["keys", "--revoke", "token-root.1"]);
    failed(&by(&place, "second", &list), 3, &["bearer.key_revoked"]);
    let told = validate(&second, "second");
    assert!(told.code == Some(2) && told.stdout.contains("bearer.key_revoked"), "{told:?}");
    assert_eq!(by(&place, "second.secret", &list).code, Some(0), "its secret is none of the key's");
    issued(&place, "gap.list", "1", "third");
    assert_eq!(by(&place, "third", &list).code, Some(0));
    let states: Vec<_> = keys(&["--all"])["keys"].as_array().unwrap().iter().map(|key| key["state"].clone()).collect();
    assert_eq!(states, ["revoked", "active"]);
    let refused = place.daemon.run(&["crypto", "keys", "--rotate", "token-root", "--suite", "hybrid"]);
    failed(&refused, 1, &["crypto.fixed_suite", "ed25519"]);
    assert_eq!(id.len(), 36);
    place.daemon.stop();

    // Through whose hands it came is on record, and no text of a form is anywhere.
    let texts = ["form", "less", "other", "over", "second", "third", "forged"].map(|name| {
        let text = fs::read_to_string(at(&place, name)).unwrap();
        let text = text.trim_end();
        text[text.len() - 60..].to_owned()
    });
    let mut marked = false;
    for file in crate::secrets::files(&place.daemon.data) {
        let bytes = fs::read(&file).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!texts.iter().any(|text| holds(text)), "{} holds one", file.display());
        marked |= holds("handed-on:01:agent/a>agent/b:ed25519/");
    }
    assert!(marked);
    assert!(!texts.iter().any(|text| place.daemon.stderr().contains(text)));
}

/// In one process: keys come and go, and no token fails to be written or taken; then the first key takes all of its own with it.
#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_rotation_fails_no_token() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root.key");
    fs::write(&root, "03".repeat(32)).unwrap();
    fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file = format!("[crypto]\nroot_key = \"file:{}\"\n", root.display());
    let authority = Authority::start(&home.path().join("data"), &file).await;
    let secret = authority.root.clone();
    let mut client = Client::new("operator", Arc::new(authority.clone()));
    adopt_starter(&mut client, &authority.root).await;
    admit(&mut client, &authority.root, "agent/a").await;
    let mut durable = authority.parts.journal.durable();
    while authority.parts.safe.sealed().is_some() {
        durable.changed().await.unwrap();
    }
    let by = kit::root();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut crew = tokio::task::JoinSet::new();
    for number in 0..3 {
        let mut client = Client::new(&format!("c{number}"), Arc::new(authority.clone()));
        let (stop, done, operator, by) = (stop.clone(), done.clone(), secret.clone(), by.clone());
        crew.spawn(async move {
            let mut forms = Vec::new();
            while !stop.load(SeqCst) {
                let (id, secret) = (Clock::system().command_id().to_string(), Secret::generate(SecretKind::Token));
                let issue = json!({
                    "id": id, "secret_digest": secret.digest(), "kind": "operation", "subject": "agent/a",
                    "audience": "sop", "operation": "gap.list", "uses": 1, "bearer": true,
                });
                let told = client.ask(Some(&by), operator.expose(), "token.issue", issue).await.yes();
                let form = told["bearer"].as_str().expect("it is written").to_owned();
                let valid = json!({ "id": id, "secret": form, "audience": "sop", "operation": "gap.list" });
                let told = client.ask(Some(&by), operator.expose(), "token.validate", valid.clone()).await.yes();
                assert_eq!(told["valid"], true, "{told}");
                forms.push((form, valid));
                done.fetch_add(1, SeqCst);
            }
            forms
        });
    }
    for rotation in 0..=6 {
        let before = done.load(SeqCst);
        while done.load(SeqCst) < before + 6 {
            tokio::task::yield_now().await;
        }
        if rotation != 6 {
            client.ask(Some(&by), secret.expose(), "crypto.rotate", json!({ "purpose": "token-root" })).await.yes();
        }
    }
    stop.store(true, SeqCst);
    let mut forms = Vec::new();
    while let Some(more) = crew.join_next().await {
        forms.extend(more.unwrap());
    }
    let version = |form: &str| bearer::inspect(form).unwrap().version.unwrap();
    let by_how_many = forms.iter().map(|(form, _)| version(form)).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(by_how_many.len(), 7, "each key has signed");
    client.ask(Some(&by), secret.expose(), "crypto.revoke", json!({ "key": "token-root.1" })).await.yes();
    for (form, valid) in &forms {
        let told = client.ask(Some(&by), secret.expose(), "token.validate", valid.clone()).await.yes();
        let code = (version(form) == 1).then_some("bearer.key_revoked");
        assert_eq!((told["valid"] == true, told["code"].as_str()), (code.is_none(), code), "{told}");
        let agent = "agent/a".parse().unwrap();
        let told = client.ask(Some(&agent), form, "gap.list", json!({})).await;
        assert_eq!(told.code(), code, "{told:?}");
    }
    authority.stop().await;
}

/// Killed while a key takes the place of another: what was written before counts, and what was asked for is written by a repeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_two_keys_loses_no_token() {
    let mut place = ready().await;
    let secret = place.daemon.credential().expose().to_owned();
    let mut forms: Vec<Value> = Vec::new();
    for round in 0..4_u64 {
        let issue = |_| {
            let (id, token) = (Clock::system().command_id(), Secret::generate(SecretKind::Token));
            let issue = json!({
                "id": id.to_string(), "secret_digest": token.digest(), "kind": "operation", "subject": "agent/a",
                "audience": "sop", "operation": "gap.list", "uses": 1, "bearer": true,
            });
            (id, issue)
        };
        let wanted: Vec<_> = (0..4).map(issue).collect();
        let mut under_way = tokio::task::JoinSet::new();
        let client = Arc::new(place.daemon.client());
        let calls = wanted.iter().map(|(id, issue)| ("token.issue", issue.clone(), *id));
        let rotate = ("crypto.rotate", json!({ "purpose": "token-root" }), Clock::system().command_id());
        for (action, arguments, id) in calls.chain([rotate]) {
            let (client, secret) = (client.clone(), secret.clone());
            under_way.spawn(async move { client.call(action, &arguments, Some(&secret), Some(id)).await.ok() });
        }
        // Later each time.
        for _ in 0..round * 4 {
            let _ = client.call("crypto.list", &json!({}), Some(&secret), None).await;
        }
        place.daemon.kill();
        let mut told = Vec::new();
        while let Some(answer) = under_way.join_next().await {
            told.extend(answer.unwrap());
        }
        place.daemon.start().await;
        unsealed(&mut place, true).await;
        let client = place.daemon.client();
        for (id, issue) in &wanted {
            // The one that was in use signs until the next one is made.
            told.push(client.call("token.issue", issue, Some(&secret), Some(*id)).await.unwrap());
        }
        let written = told.iter().filter(|told| told["bearer"].is_string());
        forms.extend(written.map(
            |told| json!({ "id": told["id"], "secret": told["bearer"], "audience": "sop", "operation": "gap.list" }),
        ));
        assert!(4 * (usize::try_from(round).unwrap() + 1) <= forms.len());
        for form in &forms {
            let told = client.call("token.validate", form, Some(&secret), None).await.unwrap();
            assert_eq!(told["valid"], true, "round {round}: {told}");
        }
    }
}
