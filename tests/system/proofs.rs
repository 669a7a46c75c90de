//! `sop policy prove`, as a user meets it: with no solver, with one that is no good, and with cvc5 where there is one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::Place;

const SAME: &str = "@id(\"all\") permit (principal is Operator, action, resource);";
/// What the encoder cannot see by itself, so that the solver is needed.
const MORE: &str = "@id(\"all\") permit (principal is Operator, action, resource);
    @id(\"pools\") permit (principal is Agent, action == Action::\"resource.show\", resource) when { context.approvals >= 1 };";

/// Where CI installs it; a machine that has it not goes without.
fn cvc5() -> Option<&'static str> {
    let found = ["/usr/bin/cvc5", "/usr/local/bin/cvc5"].into_iter().find(|path| Path::new(path).exists());
    if found.is_none() {
        assert!(std::env::var_os("SOP_PROVE").is_none(), "cvc5 is not where it was installed");
        eprintln!("not proven: there is no cvc5 here");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_proven_or_it_is_not() {
    let place = Place::started().await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let solver = |name: &str, body: &str| {
        let path =
            file(name, &format!("#!/bin/sh\n[ \"$1\" = --version ] && {{ echo 'This is {name} 1'; exit; }}\n{body}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    };
    let (same, more) = (file("same.cedar", SAME), file("more.cedar", MORE));
    let (clueless, mad) = (solver("clueless", "echo unknown"), solver("mad", "echo 42"));
    let nobody = directory.path().join("nobody").to_str().unwrap().to_owned();
    let run = |cvc5: &str, words: &[&str]| {
        let words: Vec<&str> = ["-o", "json", "policy", "prove"].iter().chain(words).copied().collect();
        let output =
            place.daemon.command(&words).arg("--data").arg(&place.daemon.data).env("CVC5", cvc5).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), found, String::from_utf8_lossy(&output.stderr).into_owned())
    };

    let (code, found, _) = run(&nobody, &[&more, "--against", &same]);
    assert_eq!((code, &found["code"]), (Some(1), &"prove.no_solver".into()), "{found}");
    assert!(found["detail"].as_str().is_some_and(|said| said.contains("not proven")), "{found}");
    for (name, why) in [(&clueless, "unknown"), (&mad, "42")] {
        let (code, found, _) = run(name, &[&more, "--against", &same]);
        assert_eq!(code, Some(1), "{found}");
        let new = &found["findings"][1];
        assert_eq!((&new["property"], &new["verdict"]), (&"grants_nothing_new".into(), &"unknown".into()), "{found}");
        assert!(new["why"].as_str().is_some_and(|said| said.contains(why)), "{found}");
    }
    // What is the same needs no solver that knows anything; nor does what is no policy.
    assert_eq!(run(&clueless, &[&same, "--against", &same]).0, Some(0));
    let (code, found, _) = run(&clueless, &[&file("bad.cedar", "permit everything;"), "--against", &same]);
    assert_eq!((code, &found["code"]), (Some(1), &"policy.invalid".into()), "{found}");

    let Some(cvc5) = cvc5() else { return };
    let (code, found, said) = run(cvc5, &[&more, "--against", &same]);
    assert_eq!(code, Some(2), "{found} {said}");
    let by = &found["findings"][1]["by"];
    assert_eq!((&by["policies"][0], &by["action"]), (&"pools".into(), &"Action::\"resource.show\"".into()), "{found}");
    let declared =
        file("declared.cedar", "permit (principal is Agent, action == Action::\"resource.show\", resource);");
    let never = file("never.cedar", "@id(\"no\") permit (principal is Agent, action, resource is Policy);");
    let words = [more.as_str(), "--against", &same, "--declare", &declared, "--never", &never];
    let (code, found, said) = run(cvc5, &words);
    assert_eq!(code, Some(0), "{found} {said}");
    assert_eq!(found["findings"].as_array().map(Vec::len), Some(3), "{found}");
    // The policy that decides already is what is compared with if nothing is said.
    assert_eq!(run(cvc5, &[&more]).1["against"], "epoch 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_proving_goes_with_the_proposal_as_a_claim() {
    let place = Place::started().await;
    let file = |name: &str, text: &str| {
        let path = place.home.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (same, more) = (file("same.cedar", SAME), file("more.cedar", MORE));
    let run = |words: &[&str]| {
        let command =
            place.daemon.command(words).arg("--data").arg(&place.daemon.data).env("CVC5", "/nowhere/cvc5").output();
        let output = command.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let json = |words: &[&str]| {
        let (code, said, why) = run(&[&["-o", "json"], words].concat());
        (code, serde_json::from_str::<Value>(&said).unwrap_or_else(|error| panic!("{error}: {said} {why}")))
    };
    assert_eq!(run(&["policy", "propose", &same]).0, Some(0));
    assert_eq!(run(&["policy", "activate", "1"]).0, Some(0));
    let (_, shown, _) = run(&["policy", "show", "1"]);
    assert!(shown.contains("NOT PROVEN: nobody claims"), "{shown}");

    // Without a solver it is proposed, and said to be not proven.
    let (code, proposed, _) = run(&["policy", "propose", &more, "--with-proof"]);
    assert_eq!(code, Some(1), "{proposed}");
    assert!(
        proposed.contains("as your claim: NOT PROVEN") && proposed.contains("Policy epoch 2 is proposed"),
        "{proposed}"
    );
    let (_, shown) = json(&["policy", "show", "2"]);
    let claim = &shown["claims"][0];
    assert_eq!((&claim["verdict"], &claim["checked"]), (&"not_proven".into(), &false.into()), "{shown}");
    assert_eq!((&claim["claimed_by"], &claim["against_epoch"]), (&"operator/root".into(), &1.into()), "{shown}");
    assert!(claim["solver"].is_null() && claim["text"] == shown["digest"], "{shown}");
    let (_, listed, _) = run(&["policy", "list"]);
    assert!(listed.lines().any(|line| line.trim_start().starts_with('2') && line.ends_with("NOT PROVEN")), "{listed}");

    // What is about another text is nobody's claim about this one; a counterexample stands in the way, and is known.
    let secret = place.daemon.credential();
    let goals = serde_json::json!([{ "property": "never errors", "verdict": "counterexample", "detail": "by all" }]);
    let claimed = async |text: &Value| {
        let claim = serde_json::json!({ "epoch": 2, "text": text, "against": text, "solver": "cvc5", "goals": goals });
        place.daemon.client().call("policy.claim", &claim, Some(secret.expose()), None).await
    };
    let other = claimed(&"0".repeat(64).into()).await;
    assert!(
        matches!(&other, Err(http::ClientError::Refused(no)) if no.code == "governance.claim_differs"),
        "{other:?}"
    );
    claimed(&shown["digest"]).await.unwrap();
    let (code, _, why) = run(&["policy", "activate", "2"]);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("governance.counterexample") && why.contains("--despite-counterexample"), "{why}");
    let (code, active, why) = run(&["policy", "activate", "2", "--despite-counterexample"]);
    assert_eq!(code, Some(0), "{why}");
    assert!(active.contains("COUNTEREXAMPLE, as operator/root claims"), "{active}");

    let (code, attached, why) = run(&["policy", "prove", "2", "--attach", "--against", "1"]);
    assert_eq!(code, Some(1), "{attached} {why}");
    let (_, shown) = json(&["policy", "show", "2"]);
    assert_eq!((&shown["claimed"], &shown["claims"][1]), (&"not_proven".into(), &Value::Null), "the last word counts");
    assert_eq!(run(&["policy", "prove", &same, "--attach"]).0, Some(1), "a file is no epoch");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_solver_the_claim_is_what_it_found() {
    let Some(cvc5) = cvc5() else { return };
    let place = Place::started().await;
    let file = |name: &str, text: &str| {
        let path = place.home.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (same, more) = (file("same.cedar", SAME), file("more.cedar", MORE));
    let declared =
        file("declared.cedar", "permit (principal is Agent, action == Action::\"resource.show\", resource);");
    let run = |words: &[&str]| {
        let words = [&["-o", "json"], words].concat();
        let command = place.daemon.command(&words).arg("--data").arg(&place.daemon.data).env("CVC5", cvc5).output();
        let output = command.unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default())
    };
    assert_eq!(run(&["policy", "propose", &same]).0, Some(0));
    assert_eq!(run(&["policy", "activate", "1"]).0, Some(0));

    // The widening is found; once it is declared, there is nothing more to find.
    let (code, proposed) = run(&["policy", "propose", &more, "--with-proof"]);
    assert_eq!(code, Some(2), "{proposed}");
    let claim = |verdict: &str| {
        let (_, shown) = run(&["policy", "show", "2"]);
        let claim = &shown["claims"][0];
        assert_eq!((&shown["claimed"], &claim["verdict"]), (&verdict.into(), &verdict.into()), "{shown}");
        assert!(claim["solver"].as_str().is_some_and(|solver| solver.contains("cvc5")), "{shown}");
    };
    claim("counterexample");
    let (code, refused) = run(&["policy", "activate", "2"]);
    assert_eq!((code, &refused["code"]), (Some(1), &"governance.counterexample".into()), "{refused}");
    let (code, attached) = run(&["policy", "prove", "2", "--attach", "--declare", &declared]);
    assert_eq!(code, Some(0), "{attached}");
    claim("proven");
    let (code, active) = run(&["policy", "activate", "2"]);
    assert_eq!(code, Some(0), "{active}");
}
