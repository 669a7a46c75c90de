//! Our own six documents: the gap detector finds nothing missing in this repository, and what they say is what the code is.
//!
//! `docs/METADATA.json` has every list and is compared whole; a test that fails prints what is to stand there. The others
//! are for reading, and are checked for naming all of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;

use cargo_metadata::MetadataCommand;
use gaps::detect::REQUIRED;
use gaps::{Command, Finding, Gaps, Reply, ScanId};
use http::Api as _;
use kernel::{CommandId, Context, Decision, Layer, Machine, Position, Principal, Timestamp};
use kit::Authority;
use serde_json::{Value, json};
use sop::desk::{Chaos, Desk};
use sop::routes::ROUTES;
use supervisors::Node;
use workers::scan::{Limits, scan};

use crate::{page, root};

/// What a running authority consists of: the streams it has opened, and its tree in the order of starting.
async fn running() -> (Vec<String>, Node, Vec<&'static str>) {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::start(&home.path().join("data"), "").await;
    let streams = authority.parts.journal.stream_heads().unwrap().into_keys().collect();
    let tree = authority.parts.tree().unwrap().snapshot();
    let mut actions: Vec<_> = Desk { parts: authority.parts.clone(), dev: true, chaos: Chaos::default() }
        .actions()
        .iter()
        .map(|action| action.name)
        .collect();
    actions.sort_unstable();
    authority.stop().await;
    (streams, tree, actions)
}

fn starts(node: &Node, order: &mut Vec<String>) {
    order.push(node.path.clone());
    node.children.iter().for_each(|child| starts(child, order));
}

/// The crates by folder: name and description.
fn crates() -> BTreeMap<String, (String, String)> {
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec().unwrap();
    let package = |package: cargo_metadata::Package| {
        let folder = package.manifest_path.parent().unwrap().strip_prefix(root().to_str().unwrap()).unwrap();
        (folder.to_string(), (package.name.to_string(), package.description.unwrap_or_default()))
    };
    metadata.packages.into_iter().map(package).collect()
}

/// The variants of `Exit`, which is the binary's own.
fn exit_codes() -> BTreeMap<String, u8> {
    let source = page("src/cli/exit.rs");
    let body = source.split("pub enum Exit {").nth(1).unwrap().split("\n}").next().unwrap();
    let code = |line: &str| {
        let (name, code) = line.trim().trim_end_matches(',').split_once(" = ")?;
        let mut snake = String::new();
        for c in name.chars() {
            if c.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(c.to_lowercase());
        }
        Some((snake, code.parse().ok()?))
    };
    body.lines().filter_map(code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_is_true() {
    let (streams, tree, actions) = running().await;
    let mut order = Vec::new();
    starts(&tree, &mut order);
    let crates = crates();
    let listed = crates.iter().map(|(folder, (name, about))| {
        json!({ "name": name, "folder": if folder.is_empty() { "." } else { folder }, "about": about })
    });
    let routes = ROUTES.iter().map(|(from, to, name)| json!({ "name": name, "from": from, "to": to }));
    let facts = json!({
        "schema": 1,
        "name": "sop",
        "title": "System Operations Protocol",
        "about": crates[""].1,
        "version": env!("CARGO_PKG_VERSION"),
        "license": env!("CARGO_PKG_LICENSE"),
        "rust": env!("CARGO_PKG_RUST_VERSION"),
        "platform": "linux",
        "documents": REQUIRED,
        "crates": listed.collect::<Vec<_>>(),
        "streams": streams,
        "starts_in_this_order": order,
        "routes": routes.collect::<Vec<_>>(),
        "actions": actions,
        "exit_codes": exit_codes(),
    });
    let written = serde_json::from_str::<Value>(&page("docs/METADATA.json")).unwrap_or_default();
    let mut differs = String::new();
    for (key, fact) in facts.as_object().unwrap().iter().filter(|(key, fact)| written[key.as_str()] != **fact) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let (is, was) = (list(fact), list(&written[key]));
        is.iter().filter(|one| !was.contains(one)).for_each(|one| writeln!(differs, "{key}: add {one}").unwrap());
        was.iter().filter(|one| !is.contains(one)).for_each(|one| writeln!(differs, "{key}: remove {one}").unwrap());
        writeln!(differs, "{key}: let it be\n{}\n", serde_json::to_string_pretty(fact).unwrap()).unwrap();
    }
    assert!(differs.is_empty(), "docs/METADATA.json is not what the code is.\n\n{differs}");
    assert_eq!(written, facts, "docs/METADATA.json says more than there is");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_name_all_there_is() {
    let (streams, tree, actions) = running().await;
    let mut lacks = String::new();
    let mut names = |page_name: &str, what: &str, name: &str| {
        if !page(page_name).contains(&format!("`{name}`")) {
            writeln!(lacks, "{page_name} does not name the {what} `{name}`: add it, with what it is for").unwrap();
        }
    };
    for stream in &streams {
        names("docs/MANIFEST.md", "stream", stream);
    }
    for folder in crates().keys().filter(|folder| !folder.is_empty()) {
        names("docs/MANIFEST.md", "crate", folder);
    }
    for action in actions {
        let (noun, _) = action.split_once('.').unwrap();
        names("docs/MANIFEST.md", "actions", &format!("{noun}.*"));
    }
    for layer in Layer::ALL {
        names("docs/GOVERNANCE_SCOPE.md", "layer", serde_json::to_value(layer).unwrap().as_str().unwrap());
    }
    let mut order = Vec::new();
    starts(&tree, &mut order);
    let leaves = order.iter().filter(|path| !order.iter().any(|other| other.starts_with(&format!("{path}/"))));
    let text = page("docs/ORDER_OF_OPERATIONS.md");
    let list = text.split("The order of the tree.").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut at = 0;
    for path in leaves.filter(|path| !path.contains("/route.")) {
        let name = path.rsplit('/').next().unwrap();
        match list[at..].find(&format!("`{name}`")) {
            Some(found) => at += found,
            None => writeln!(
                lacks,
                "docs/ORDER_OF_OPERATIONS.md does not name `{name}` where it starts: the order is {order:?}"
            )
            .unwrap(),
        }
    }
    assert!(lacks.is_empty(), "\n{lacks}");
}

/// What stands between backticks and looks like a path of ours is one.
#[test]
fn what_the_documents_point_at_is_there() {
    for name in REQUIRED {
        let text = page(&format!("docs/{name}"));
        for word in text.split('`').skip(1).step_by(2) {
            let ours = ["src/", "actors/", "tests/", "config/"].iter().any(|folder| word.starts_with(folder));
            assert!(!ours || root().join(word).exists(), "docs/{name} points at {word}, which is not there");
        }
    }
}

/// As `sop gap scan .` would, with the same walk, detectors and machine.
#[test]
fn nothing_is_missing_in_this_repository() {
    let survey = scan(&root(), &Limits::default(), &AtomicBool::new(false)).unwrap();
    assert!(survey.coverage.unread.is_empty() && survey.coverage.judged_to.is_none(), "all of it is looked at");
    let seen = |name: &str| root().join("docs").join(name).is_file();
    assert!(REQUIRED.iter().all(|name| seen(name)), "the six are in docs/");
    let mut gaps = Gaps::default();
    let mut tell = |command: Command| {
        let cx = Context {
            now: Timestamp(1),
            command_id: CommandId(1),
            principal: Principal::internal("test"),
            decision: Decision::default(),
        };
        let outcome = gaps.decide(&command, &cx).unwrap();
        outcome.events.iter().for_each(|event| gaps.evolve(event, Position(0)));
        outcome.reply
    };
    tell(Command::Scan { root: root().to_str().unwrap().to_owned() });
    let mut seen = Vec::new();
    for findings in survey.findings.chunks(gaps::REPORT_MAX) {
        match tell(Command::Report { scan: ScanId(1), findings: findings.to_vec() }) {
            Reply::Reported { gaps, .. } => seen.extend(gaps),
            other => panic!("{other:?}"),
        }
    }
    let ended = tell(Command::Finish { scan: ScanId(1), seen, coverage: survey.coverage, tally: survey.tally });
    let Reply::Finished(finished) = ended else { panic!("{ended:?}") };
    let open = survey
        .findings
        .iter()
        .map(|Finding { kind, path, line, detail, .. }| format!("{path}:{line}: {}", gaps::title(*kind, path, detail)));
    assert_eq!(finished.open, 0, "\n{}", open.collect::<Vec<_>>().join("\n"));
}
