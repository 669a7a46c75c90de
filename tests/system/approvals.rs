//! What should not be done alone is asked for, decided by others, and done once.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use door::{Secret, SecretKind};
use identity::CredentialId;
use kit::{Client, Output, admit, adopt_starter, root};
use serde_json::{Value, json};

use crate::{Place, failed};

/// Nobody makes or holds a backup alone.
const TWO_EYES: &str = r#"
    @id("two-eyes") forbid (principal, action in [Action::"backup.create", Action::"backup.hold"], resource)
    unless { context.approvals >= 1 };
"#;

async fn started() -> Place {
    let mut place = Place::new();
    place.daemon.start().await;
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    adopt_starter(&mut setup, &place.daemon.credential()).await;
    activated(&place, "");
    place
}

/// The starter policy, with two eyes and something more.
fn activated(place: &Place, more: &str) {
    let file = place.home.path().join("two-eyes.cedar");
    let starter = include_str!("../../config/policies/starter.cedar");
    std::fs::write(&file, format!("{starter}\n{TWO_EYES}\n{more}")).unwrap();
    let epoch = json_of(place, &["policy", "propose", file.to_str().unwrap()])["epoch"].to_string();
    let activated = place.daemon.run(&["policy", "activate", &epoch]);
    assert_eq!(activated.code, Some(0), "{activated:?}");
}

fn json_of(place: &Place, command: &[&str]) -> Value {
    let output = place.daemon.run(&[command, &["-o", "json"]].concat());
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_approvals_is_told_how_to_get_them_and_nobody_gives_them_to_himself() {
    let place = started().await;
    failed(
        &place.daemon.run(&["backup", "create"]),
        5,
        &["error[policy.approval_needed]", "1 approval", "two-eyes", "--request-approval=REASON"],
    );
    assert_eq!(json_of(&place, &["backup", "create"])["missing"], json!({ "approvals": 1 }));

    let asked = place.daemon.run(&["backup", "create", "--request-approval=before the move"]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    for word in ["Nothing was done", "request 1, 0 of 1 approvals", "sop approval approve 1"] {
        assert!(asked.stdout.contains(word), "{word}: {asked:?}");
    }
    assert_eq!(json_of(&place, &["backup", "list"])["backups"], json!([]));
    let again = json_of(&place, &["backup", "create", "--request-approval"]);
    assert_eq!((&again["request"], &again["state"]), (&json!(1), &json!("pending")), "the same is asked for once");
    assert_eq!(json_of(&place, &["backup", "create"])["missing"], json!({ "approvals": 1, "request": 1 }));
    failed(&place.daemon.run(&["backup", "create"]), 5, &["of request 1, 0 of 1 have approved it"]);

    let listed = place.daemon.run(&["approval", "list", "--state", "pending"]);
    assert!(listed.stdout.contains("backup.create") && listed.stdout.contains("0 of 1"), "{listed:?}");
    let shown = place.daemon.run(&["approval", "show", "1"]);
    for word in ["backup.create on *", "operator/root", "before the move", "nobody yet", "1 approvals"] {
        assert!(shown.stdout.contains(word), "{word}: {shown:?}");
    }
    failed(&place.daemon.run(&["approval", "approve", "1"]), 1, &["error[approvals.own_request]"]);
    failed(&place.daemon.run(&["approval", "deny", "1"]), 1, &["error[approvals.own_request]"]);
    failed(&place.daemon.run(&["approval", "approve", "2"]), 1, &["error[approvals.unknown]"]);
    failed(&place.daemon.run(&["approval", "show", "2"]), 1, &["error[approvals.unknown]"]);
    let withdrawn = place.daemon.run(&["approval", "withdraw", "1"]);
    assert!(withdrawn.code == Some(0) && withdrawn.stdout.contains("withdrawn"), "{withdrawn:?}");
    failed(&place.daemon.run(&["backup", "create"]), 5, &["error[approvals.withdrawn]", "--request-approval"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_is_asked_for_what_needs_it_and_nothing_else() {
    let place = started().await;
    let asked = |command: &[&str]| place.daemon.run(&[command, &["--request-approval=x"]].concat());
    failed(&asked(&["retention", "hold", "case-1", "--reason", "x"]), 1, &["error[approvals.not_needed]"]);
    assert_eq!(json_of(&place, &["retention", "list"])["holds"], json!([]), "nothing was done");
    failed(&asked(&["emergency-stop", "--reason", "x"]), 1, &["error[approvals.not_for_this]"]);
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    assert_eq!(status["sealed"], Value::Null, "a stop that is asked for so is none");
    failed(&asked(&["approval", "withdraw", "1"]), 1, &["error[approvals.not_for_this]"]);
    // What only shows something is shown.
    assert_eq!(asked(&["backup", "list"]).code, Some(0));

    let (client, root) = (place.daemon.client(), place.daemon.credential());
    let ask = async |arguments: Value| {
        let answer = client.call("approval.request", &arguments, Some(root.expose()), None).await;
        match answer {
            Ok(answer) => answer["request"].to_string(),
            Err(http::ClientError::Refused(problem)) => problem.code.clone(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(ask(json!({ "action": "nosuch.thing", "arguments": {} })).await, "request.unknown_action");
    assert_eq!(ask(json!({ "action": "backup.create", "arguments": { "a": 1 } })).await, "request.arguments");
    assert_eq!(ask(json!({ "action": "backup.create", "arguments": {}, "why": "x" })).await, "request.arguments");
    let long = "x".repeat(1_001);
    assert_eq!(ask(json!({ "action": "backup.create", "arguments": {}, "reason": long })).await, "approvals.too_long");
    let ever = json!({ "action": "backup.create", "arguments": {}, "lifetime_ms": 700_000_000 });
    assert_eq!(ask(ever).await, "approvals.lifetime_out_of_range");
    assert_eq!(ask(json!({ "action": "backup.create", "arguments": {}, "lifetime_ms": 1_000 })).await, "1");
}

/// Somebody with a key of his own, which lies in a file.
async fn admitted(place: &Place, principal: &str, number: u64) -> String {
    let secret = place.daemon.credential();
    let mut client = Client::new("setup", Arc::new(place.daemon.client()));
    admit(&mut client, &secret, principal).await;
    let id = CredentialId(number);
    let key = Secret::generate(SecretKind::Key(id));
    let make = json!({ "id": id, "principal": principal, "secret_digest": key.digest(), "label": "key" });
    client.ask(Some(&root()), secret.expose(), "credential.create", make).await.yes();
    let file = place.home.path().join(format!("{number}.key"));
    std::fs::write(&file, key.expose()).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}

fn by(place: &Place, file: &str, command: &[&str]) -> Output {
    place.daemon.run(&[&["--credential", file], command].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_operator_approved_is_done_once_also_over_a_crash() {
    let mut place = started().await;
    let anne = admitted(&place, "operator/anne", 1).await;
    let agent = admitted(&place, "agent/alpha", 2).await;
    assert_eq!(place.daemon.run(&["backup", "create", "--request-approval=before the move"]).code, Some(0));
    let denied = by(&place, &agent, &["approval", "approve", "1"]);
    failed(&denied, 3, &["approvals-are-for-operators"]);
    failed(&by(&place, &anne, &["backup", "create"]), 5, &["policy.approval_needed"]);
    let approved = by(&place, &anne, &["approval", "approve", "1"]);
    assert!(approved.code == Some(0) && approved.stdout.contains("1 of 1 approvals"), "{approved:?}");
    let again = by(&place, &anne, &["approval", "approve", "1"]);
    assert!(again.code == Some(0) && again.stdout.contains("1 of 1 approvals"), "nobody counts twice: {again:?}");

    place.daemon.kill();
    place.daemon.start().await;
    let id = "--command-id=".to_owned() + &host::Clock::system().command_id().to_string();
    let made = place.daemon.run(&["backup", "create", &id]);
    assert_eq!(made.code, Some(0), "{made:?}");
    failed(&place.daemon.run(&["backup", "create"]), 5, &["error[approvals.used]"]);
    let repeated = place.daemon.run(&["backup", "create", &id]);
    assert_eq!(repeated.code, Some(0), "{repeated:?}");
    assert_eq!(json_of(&place, &["backup", "list"])["backups"].as_array().map(Vec::len), Some(1));
    let shown = place.daemon.run(&["approval", "show", "1"]);
    for word in ["used", "operator/anne at", &id["--command-id=".len()..]] {
        assert!(shown.stdout.contains(word), "{word}: {shown:?}");
    }
    let deny = by(&place, &anne, &["approval", "deny", "1"]);
    failed(&deny, 1, &["error[approvals.used]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_gets_leave_for_what_it_asked_and_for_nothing_else() {
    let place = started().await;
    let agent = admitted(&place, "agent/alpha", 2).await;
    let text = r#"permit (principal is Agent, action == Action::"backup.create", resource);"#;
    activated(&place, text);
    assert_eq!(by(&place, &agent, &["backup", "create", "--request-approval=x"]).code, Some(0));
    failed(&by(&place, &agent, &["approval", "approve", "1"]), 3, &["approvals-are-for-operators"]);
    failed(&by(&place, &agent, &["approval", "list"]), 3, &["policy.not_permitted"]);
    let own = by(&place, &agent, &["approval", "list", "--asker", "agent/alpha"]);
    assert!(own.code == Some(0) && own.stdout.contains("backup.create"), "{own:?}");
    assert_eq!(place.daemon.run(&["approval", "approve", "1"]).code, Some(0));
    failed(&place.daemon.run(&["backup", "create"]), 5, &["policy.approval_needed"]);
    assert_eq!(by(&place, &agent, &["backup", "create"]).code, Some(0));

    assert_eq!(by(&place, &agent, &["backup", "create", "--request-approval=x"]).code, Some(0));
    let denied = place.daemon.run(&["approval", "deny", "2", "--reason", "one is enough"]);
    assert_eq!(denied.code, Some(0), "{denied:?}");
    failed(&by(&place, &agent, &["backup", "create"]), 5, &["error[approvals.denied]", "operator/root denied"]);
    let shown = by(&place, &agent, &["approval", "show", "2"]);
    assert!(shown.stdout.contains("one is enough"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_since_is_not_what_was_approved() {
    let place = started().await;
    let anne = admitted(&place, "operator/anne", 1).await;
    let text = r#"
        @id("root-not-alone") forbid (principal == Operator::"root", action == Action::"resource.resize", resource)
        unless { context.approvals >= 1 };
    "#;
    activated(&place, text);
    assert_eq!(place.daemon.run(&["resource", "define", "gpu", "--capacity", "4"]).code, Some(0));
    let resize = ["resource", "resize", "gpu", "--capacity", "8"];
    assert_eq!(place.daemon.run(&[&resize[..], &["--request-approval=x"]].concat()).code, Some(0));
    assert_eq!(by(&place, &anne, &["approval", "approve", "1"]).code, Some(0));
    let other = ["resource", "resize", "gpu", "--capacity", "9"];
    failed(&place.daemon.run(&other), 5, &["error[approvals.other_content]"]);
    assert_eq!(by(&place, &anne, &["resource", "resize", "gpu", "--capacity", "5"]).code, Some(0));
    let shown = json_of(&place, &["approval", "show", "1"]);
    assert_eq!((&shown["state"], &shown["stale"]), (&json!("approved"), &json!(true)));
    failed(&place.daemon.run(&resize), 5, &["error[approvals.stale]"]);
    assert_eq!(by(&place, &anne, &["resource", "resize", "gpu", "--capacity", "4"]).code, Some(0));
    failed(&place.daemon.run(&resize), 5, &["error[approvals.stale]"]);

    assert_eq!(place.daemon.run(&[&resize[..], &["--request-approval=x"]].concat()).code, Some(0));
    assert_eq!(by(&place, &anne, &["approval", "approve", "2"]).code, Some(0));
    assert_eq!(place.daemon.run(&resize).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_alone_ends_a_stop_with_another() {
    let place = started().await;
    let anne = admitted(&place, "operator/anne", 1).await;
    assert_eq!(place.daemon.run(&["backup", "create", "--request-approval=x"]).code, Some(0));
    assert_eq!(place.daemon.run(&["emergency-stop", "--reason", "fire"]).code, Some(0));
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    let digest = status["sealed"]["digest"].as_str().unwrap().to_owned();
    let resume = ["resume", "--digest", &digest];
    failed(&place.daemon.run(&resume), 5, &["error[policy.approval_needed]", "another operator"]);
    let asked = place.daemon.run(&[&resume[..], &["--request-approval=the fire is out"]].concat());
    assert!(asked.code == Some(0) && asked.stdout.contains("request 2"), "{asked:?}");
    failed(&place.daemon.run(&["approval", "approve", "2"]), 1, &["error[approvals.own_request]"]);
    failed(&by(&place, &anne, &["approval", "approve", "1"]), 3, &["error[door.sealed]"]);
    failed(&place.daemon.run(&resume), 5, &["error[policy.approval_needed]", "of request 2, 0 of 1"]);
    let approved = by(&place, &anne, &["approval", "approve", "2"]);
    assert_eq!(approved.code, Some(0), "{approved:?}");
    let other = ["resume", "--digest", &"0".repeat(64)];
    failed(&place.daemon.run(&other), 5, &["approvals.other_content"]);
    let resumed = place.daemon.run(&resume);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert_eq!(by(&place, &anne, &["approval", "approve", "1"]).code, Some(0), "everything goes on");
}
