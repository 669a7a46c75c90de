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

    let cvc5 = ["/usr/bin/cvc5", "/usr/local/bin/cvc5"].into_iter().find(|path| Path::new(path).exists());
    let Some(cvc5) = cvc5 else {
        assert!(std::env::var_os("SOP_PROVE").is_none(), "cvc5 is not where it was installed");
        return eprintln!("not proven: there is no cvc5 here");
    };
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
