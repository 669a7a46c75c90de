//! What was decided, found again: by its action, explained layer by layer, and judged by another policy.

use std::fs;

use kit::Output;
use serde_json::Value;

use crate::{Place, failed};

const OPEN: &str = "@id(\"operators\") permit (principal is Operator, action, resource);\n";
const NARROW: &str = "@id(\"operators\") permit (principal is Operator, action, resource);\n\
    @id(\"no-pools\") forbid (principal, action == Action::\"resource.define\", resource);\n";

impl Place {
    /// Writes a policy file, and names it.
    fn policy(&self, name: &str, text: &str) -> String {
        let file = self.home.path().join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.daemon.run(&[&["-o", "json"], arguments].concat());
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    fn done(&self, arguments: &[&str]) -> Output {
        let output = self.daemon.run(arguments);
        assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
        output
    }

    async fn open() -> Self {
        let place = Self::started().await;
        let file = place.policy("open.cedar", OPEN);
        place.done(&["policy", "propose", &file]);
        place.done(&["policy", "activate", "1"]);
        place
    }
}

fn records(found: &Value) -> Vec<&Value> {
    found["records"].as_array().unwrap().iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allow_is_found_by_what_was_asked_and_explained_as_well_as_a_denial() {
    let place = Place::open().await;
    place.done(&["resource", "define", "gpu", "--capacity", "2"]);
    failed(&place.daemon.run(&["resource", "resize", "tpu", "--capacity", "4"]), 1, &["allocator."]);

    let found = place.json(&["audit", "list", "--action", "resource.define", "--allowed"]);
    let [record] = records(&found)[..] else { panic!("one was defined: {found}") };
    assert_eq!((&record["stream"], &record["action"]), (&"allocator".into(), &"resource.define".into()));
    assert_eq!(records(&place.json(&["audit", "list", "--resource", "gpu"])).len(), 1);
    assert!(records(&place.json(&["audit", "list", "--action", "resource.define", "--denied"])).is_empty());
    let denied = place.json(&["audit", "list", "--denied", "--principal", "operator/root"]);
    assert_eq!(records(&denied)[0]["action"], "resource.resize", "a refusal is a no, too");

    let command = record["command"].as_str().unwrap();
    let shown = place.json(&["audit", "show", command]);
    assert_eq!(shown["records"][0]["asked"]["resource"], "gpu");
    let explained = place.json(&["explain", command]);
    assert_eq!((&explained["allowed"], &explained["action"]), (&true.into(), &"resource.define".into()));
    let policy = &explained["policies"][0];
    assert_eq!((&policy["id"], policy["source"].as_str().unwrap()), (&"operators".into(), OPEN.trim()));
    let layers = explained["layers"].as_array().unwrap();
    assert!(layers.iter().all(|step| step["verdict"] == "passed"), "{layers:?}");
    assert_eq!(layers.len(), 9);

    let refused = place.json(&["explain", records(&denied)[0]["command"].as_str().unwrap()]);
    let verdicts: Vec<_> =
        refused["layers"].as_array().unwrap().iter().map(|step| step["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts[5..], ["passed", "passed", "denied", "not reached"], "it was let in, and refused");
    let told = place.done(&["explain", command]).stdout;
    assert!(
        told.contains("policy        passed   epoch 1: operators") && told.contains("@id(\"operators\")"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_policy_is_held_against_what_was_decided() {
    let mut place = Place::open().await;
    for pool in ["gpu", "tpu"] {
        place.done(&["resource", "define", pool, "--capacity", "2"]);
    }
    let (open, narrow) = (place.policy("same.cedar", OPEN), place.policy("narrow.cedar", NARROW));
    let same = place.daemon.run(&["policy", "replay", &open]);
    assert_eq!(same.code, Some(0), "{same:?}");
    assert!(same.stdout.starts_with("No flips: "), "{same:?}");
    let flips = place.daemon.run(&["policy", "replay", &narrow]);
    assert_eq!(flips.code, Some(2), "{flips:?}");
    for word in [
        "2 FLIPS among",
        "allowed by operators",
        "denied by policy.forbidden (no-pools)",
        "resource.define       2      2",
    ] {
        assert!(flips.stdout.contains(word), "{word:?}: {flips:?}");
    }

    // It is said at the proposal, and an activation that expects none is refused.
    let proposed = place.done(&["policy", "propose", &narrow]).stdout;
    assert!(proposed.contains("otherwise: 2 resource.define."), "{proposed}");
    failed(
        &place.daemon.run(&["policy", "activate", "2", "--expect-no-flips"]),
        1,
        &["policy.flips", "sop policy replay 2"],
    );
    assert_eq!(place.json(&["policy", "list"])["epochs"][1]["active"], true, "nothing was activated");
    let activated = place.done(&["policy", "activate", "2"]).stdout;
    assert!(activated.contains("otherwise: 2 resource.define."), "{activated}");

    // The other way round: what is denied now was allowed by the first epoch; and so it is after a kill.
    failed(&place.daemon.run(&["resource", "define", "npu", "--capacity", "2"]), 3, &["policy.forbidden"]);
    place.daemon.kill();
    place.daemon.start().await;
    let last = place.json(&["audit", "list", "--denied", "--action", "resource.define"]);
    let since = records(&last)[0]["sequence"].to_string();
    let back = place.json(&["policy", "replay", "1", "--since", &since]);
    let [flip] = &back["flips"].as_array().unwrap()[..] else { panic!("one: {back}") };
    assert_eq!((&flip["was"], &flip["now"], &flip["resource"]), (&"denied".into(), &"allowed".into(), &"npu".into()));
    assert_eq!(flip["after"]["policies"][0], "operators");
    let explained = place.json(&["explain", flip["command"].as_str().unwrap()]);
    assert_eq!(explained["policies"][0]["id"], "no-pools", "the rule that forbade, with its source");

    failed(&place.daemon.run(&["policy", "replay", "9"]), 1, &["governance.unknown_epoch"]);
    let broken = place.policy("broken.cedar", "permit (");
    failed(&place.daemon.run(&["policy", "replay", &broken]), 1, &["policy.invalid"]);
}
