//! What is only asked about: what would come of a command, what would permit it, and how it is written for curl.

use std::fs;
use std::process::Command;

use kit::Output;
use serde_json::Value;

use crate::{Place, failed};

const COMMANDS: &str = include_str!("commands.txt");
const OPEN: &str = "@id(\"operators\") permit (principal is Operator, action, resource);\n";

/// With a pool and an agent, and the files that the commands name.
async fn place() -> Place {
    let place = Place::started().await;
    let file = |name: &str, text: &str| {
        let file = place.home.path().join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let policy = file("POLICY", OPEN);
    file("NOTE", "sop.example/log\n5\nAAAA\n\n");
    file("LIST", &format!("{}  a.txt\n", "0".repeat(64)));
    let secret = file("SECRET", &format!("sop_tk_{}\n", "0".repeat(64)));
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(secret, private).unwrap();
    fs::create_dir(place.home.path().join("DIR")).unwrap();
    for command in [
        &["policy", "propose", &policy][..],
        &["policy", "activate", "1"],
        &["resource", "define", "gpu", "--capacity", "2"],
        &["security", "admit", "agent/alpha", "--owner", "operator/root", "--can", "todo.*"],
    ] {
        let output = place.daemon.run(command);
        assert_eq!(output.code, Some(0), "{command:?}: {output:?}");
    }
    place
}

/// Each line's exit code and command, its files by their place.
fn commands(place: &Place) -> Vec<(i32, Vec<String>)> {
    let files = ["NOTE", "DIR", "POLICY", "NEW", "SECRET", "LIST"];
    let word = |word: &str| {
        if files.contains(&word) { place.home.path().join(word).display().to_string() } else { word.to_owned() }
    };
    let line = |line: &str| {
        let (code, command) = line.split_once(' ').unwrap();
        (code.parse().unwrap(), command.split(' ').map(word).collect())
    };
    COMMANDS.lines().filter(|line| !line.starts_with('#')).map(line).collect()
}

fn tried(place: &Place, command: &[String], more: &[&str]) -> Output {
    let words: Vec<_> = command.iter().map(String::as_str).chain(more.iter().copied()).collect();
    place.daemon.run(&words)
}

fn json(place: &Place, arguments: &[&str]) -> Value {
    let output = place.daemon.run(&[&["-o", "json"], arguments].concat());
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// What is on record since, but for the work of the authority's own parts.
fn since(place: &Place, from: u64) -> Vec<Value> {
    let listed = json(place, &["audit", "list", "--limit", "1000", "--from", &from.to_string()]);
    let records = listed["records"].as_array().unwrap().iter();
    records.filter(|record| !record["principal"].as_str().unwrap().starts_with("internal/")).cloned().collect()
}

fn head(place: &Place) -> u64 {
    json(place, &["status"])["head"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_of_every_command_does_nothing_and_is_on_record_as_a_question() {
    let place = place().await;
    let before = head(&place);
    let mut ends = Vec::new();
    for (code, command) in commands(&place) {
        let output = tried(&place, &command, &["--dry-run"]);
        if output.code != Some(code) {
            ends.push(format!(
                "{command:?} ends with {:?}, not {code}: {}{}",
                output.code, output.stdout, output.stderr
            ));
        }
        let said = output.stdout.contains("Nothing was done.") || !output.stderr.is_empty();
        assert!(said, "{command:?}: {output:?}");
        assert!(!place.home.path().join("NEW").exists(), "{command:?} leaves a secret behind");
    }
    assert!(ends.is_empty(), "{}", ends.join("\n"));
    let records = since(&place, before + 1);
    for record in &records {
        assert_eq!((&record["stream"], &record["kind"]), (&"decisions".into(), &"request.answered".into()), "{record}");
    }
    let questions = records.iter().filter(|record| record["action"] == "request.try").count();
    assert!(50 < questions, "{questions} questions are on record");
    let status = json(&place, &["status"]);
    assert!(status["sealed"].is_null(), "nothing was stopped: {status}");

    // Under the seal, and with too little, it says so.
    assert_eq!(place.daemon.run(&["emergency-stop", "--reason", "drill"]).code, Some(0));
    let denied = place.daemon.run(&["resource", "define", "npu", "--capacity", "2", "--dry-run"]);
    assert_eq!(denied.code, Some(3), "{denied:?}");
    assert!(
        denied.stdout.starts_with("It would be denied: operator/root stopped everything (door.sealed)"),
        "{denied:?}"
    );
    let stop = json(&place, &["status"])["sealed"]["digest"].as_str().unwrap().to_owned();
    let resumed = place.daemon.run(&["resume", "--digest", &stop, "--dry-run"]);
    assert_eq!((resumed.code, resumed.stdout.contains("governance.resumed")), (Some(2), true), "{resumed:?}");
    assert!(!json(&place, &["status"])["sealed"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_is_written_for_curl_and_nothing_is_asked() {
    let place = place().await;
    let secret = place.daemon.credential();
    let before = head(&place);
    for (_, command) in commands(&place) {
        let output = tried(&place, &command, &["--print-curl"]);
        // Who names an actor that is not there is told before.
        let line = &output.stdout;
        assert!(line.contains("curl -sS --unix-socket ") && line.contains("/v1/"), "{command:?}: {output:?}");
        assert_eq!(output.code, Some(0), "{command:?}: {output:?}");
        assert!(line.contains("$SOP_CREDENTIAL") && !line.contains(secret.expose()), "{line}");
        assert!(!line.contains("sop_tk_"), "{line}");
        assert!(!place.home.path().join("NEW").exists(), "{command:?}");
    }
    let reads = ["policy.show", "system.tree"];
    for record in since(&place, before + 1) {
        let action = record["action"].as_str().unwrap();
        assert!(reads.contains(&action) || action.starts_with("audit."), "{record}");
    }

    // It is the command.
    let line =
        place.daemon.run(&["resource", "define", "npu", "--capacity", "2", "--unit", "it's", "--print-curl"]).stdout;
    let credential = place.daemon.data.join("credentials/operator");
    let done = Command::new("sh").arg("-c").arg(&line).env("SOP_CREDENTIAL", credential).output().unwrap();
    let done: Value =
        serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?} of {line}"));
    assert_eq!(done["pool"], "npu", "{done}");
    assert_eq!(json(&place, &["resource", "show", "npu"])["unit"], "it's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_as_a_permission_permits() {
    let place = place().await;
    for (_, command) in commands(&place) {
        let output = tried(&place, &command, &["--print-permission"]);
        let said = output.stdout.contains("// Policy: ")
            || [Some(1), Some(3)].contains(&output.code) && output.stderr.contains("error[");
        assert!(said, "{command:?}: {output:?}");
    }
    let key = place.home.path().join("alpha.key").display().to_string();
    let made = place.daemon.run(&["security", "credentials", "--create", "agent/alpha", "--secret-file", &key]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let define = ["--credential", &key, "resource", "define", "npu", "--capacity", "2"];
    failed(&place.daemon.run(&define), 3, &["error[door.no_capability]"]);

    let printed = place.daemon.run(&[&define[..], &["--print-permission"]].concat());
    let registry = printed.stdout.lines().find_map(|line| line.strip_prefix("// Registry: sop ")).unwrap();
    let admit: Vec<_> = registry.split(' ').map(|word| word.trim_matches('\'')).collect();
    assert_eq!(place.daemon.run(&admit).code, Some(0), "{registry}");
    failed(&place.daemon.run(&define), 3, &["error[policy.not_permitted]"]);

    let text = format!("{OPEN}{}", printed.stdout);
    let file = place.home.path().join("with.cedar");
    fs::write(&file, text).unwrap();
    assert_eq!(place.daemon.run(&["policy", "propose", file.to_str().unwrap()]).code, Some(0), "{printed:?}");
    assert_eq!(place.daemon.run(&["policy", "activate", "2"]).code, Some(0));
    assert_eq!(place.daemon.run(&define).code, Some(0), "{printed:?}");
    failed(
        &place.daemon.run(&["--credential", &key, "resource", "define", "fpga", "--capacity", "2"]),
        3,
        &["policy.not_permitted"],
    );
    let held = place.daemon.run(&[&define[..], &["--print-permission"]].concat()).stdout;
    assert!(
        held.contains("is admitted for resource.define") && held.contains("permitted already, by permit-"),
        "{held}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_explained_by_what_would_have_made_it_an_allow() {
    let place = place().await;
    let key = place.home.path().join("alpha.key").display().to_string();
    assert_eq!(
        place.daemon.run(&["security", "credentials", "--create", "agent/alpha", "--secret-file", &key]).code,
        Some(0)
    );
    let of_alpha = |wanted: &str, code: &str| {
        let denied = place.daemon.run(&["--credential", &key, "-o", "json", "todo", wanted, "todo-7"]);
        let problem: Value = serde_json::from_str(&denied.stdout).unwrap_or_else(|error| panic!("{error}: {denied:?}"));
        assert_eq!(problem["code"], code, "{problem}");
        json(&place, &["explain", problem["decision"].as_str().unwrap()])
    };
    let explained = of_alpha("show", "policy.not_permitted");
    let near = &explained["near"][0];
    assert_eq!(
        (&near["words"], &near["permits"][0]),
        (&"an operator asked".into(), &"operators".into()),
        "{explained}"
    );
    assert_eq!(explained["near_complete"], true);
    let policy = &explained["permission"]["policy"];
    assert_eq!((&policy["held"], &policy["suffices"]), (&false.into(), &true.into()), "{explained}");
    assert_eq!(explained["ask"][0]["for"], "policy.activate");
    assert_eq!(explained["ask"][0]["who"][0], "operator/root");
    let told = place.daemon.run(&["explain", explained["decision"].as_str().unwrap()]).stdout;
    for words in [
        "it would be allowed if an operator asked",
        "what would permit it:\n  @id(\"permit-todo.show-",
        "who may policy.activate: operator/root",
    ] {
        assert!(told.contains(words), "{words:?}: {told}");
    }

    let suspended = place.daemon.run(&["security", "suspend", "agent/alpha"]);
    assert_eq!(suspended.code, Some(0), "{suspended:?}");
    let explained = of_alpha("show", "door.suspended");
    assert_eq!(explained["ask"][0]["for"], "security.resume", "{explained}");
    assert_eq!(explained["permission"]["registry"]["command"], "sop security resume agent/alpha", "{explained}");
}

#[test]
fn what_asks_no_daemon_is_not_done_either() {
    let place = Place::new();
    let file = place.home.path().join("new.toml");
    for command in [
        &["bootstrap"][..],
        &["up"],
        &["config", "init", "--file", file.to_str().unwrap()],
        &["backup", "restore", "nowhere", "--data", "elsewhere"],
    ] {
        for flag in ["--dry-run", "--print-permission", "--print-curl"] {
            let output = match command[0] {
                "backup" => place.daemon.command(&[command, &[flag]].concat()).output().unwrap().status.code(),
                _ => place.daemon.run(&[command, &[flag]].concat()).code,
            };
            assert_eq!(output, Some(1), "{command:?} {flag}");
        }
    }
    assert!(!file.exists() && !place.daemon.data.exists());
}
