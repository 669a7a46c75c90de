//! The policies that a fresh store begins with: the files of a directory, all of them or none, and once.

use std::fs;

use serde_json::json;

use crate::{Place, failed};

const READ: &str = "@id(\"read\")\npermit (principal is Operator, action == Action::\"gap.list\", resource);\n";
const ALL: &str = "@id(\"operators\")\npermit (principal is Operator, action, resource);";

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_store_begins_with_the_policies_of_a_directory() {
    let mut place = Place::new();
    let first = place.home.path().join("first");
    place.daemon.configure("door.policies = \"../first\"\n");
    let nothing_is_made = || assert_eq!(fs::read_dir(&place.daemon.data).unwrap().count(), 1, "only the configuration");
    failed(&place.daemon.run(&["up"]), 1, &["error[policy.directory]", "No such file"]);
    fs::create_dir(&first).unwrap();
    fs::write(first.join("README"), "no policy").unwrap();
    failed(&place.daemon.run(&["up"]), 1, &["error[policy.directory]", "there is no *.cedar in it"]);
    fs::write(first.join("b.cedar"), ALL).unwrap();
    fs::write(
        first.join("a.cedar"),
        format!("{ALL}\n\n@id(\"typo\")\npermit (principal, action == Action::\"gap.scam\", resource);\n"),
    )
    .unwrap();
    failed(&place.daemon.run(&["up"]), 1, &["error[policy.invalid]", "a.cedar:5:"]);
    fs::write(first.join("a.cedar"), format!("// The same again.\n{ALL}\n")).unwrap();
    failed(&place.daemon.run(&["up"]), 1, &["error[policy.invalid]", "b.cedar:1:", "operators"]);
    nothing_is_made();

    let read = READ;
    fs::write(first.join("a.cedar"), read).unwrap();
    place.daemon.start().await;
    let decides =
        async |client: &http::Client| client.get("/v1/status").await.is_ok_and(|now| now["policy_epoch"] == 1);
    place.daemon.until("has its first policy", decides).await;
    let secret = place.daemon.credential();
    let shown = async |client: http::Client| {
        client.call("policy.show", &json!({ "epoch": 1 }), Some(secret.expose()), None).await.unwrap()
    };
    let text = shown(place.daemon.client()).await["text"].as_str().unwrap().to_owned();
    assert_eq!(text, format!("{read}{ALL}\n"), "by their names, as they stand");
    let listed = place.daemon.run(&["policy", "list", "-o", "json"]);
    assert!(listed.stdout.contains("\"active\""), "{listed:?}");

    // Later nobody looks there.
    fs::write(first.join("c.cedar"), "permit (").unwrap();
    place.daemon.kill();
    place.daemon.start().await;
    assert_eq!(shown(place.daemon.client()).await["text"], text);
    let status = place.daemon.client().get("/v1/status").await.unwrap();
    assert_eq!(status["policy_epoch"], 1, "{status}");
}
