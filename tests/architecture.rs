//! The rules of the architecture, kept by a test that fails: who may depend on whom, where something may be spawned, what
//! a frozen record may hold, and that every module says what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Layers from the bottom up. A crate depends on crates of lower layers only, and never on its own layer, but for what
/// [`WITHIN_A_LAYER`] names.
const LAYERS: [(&str, &[&str]); 17] = [
    ("verifier", &["verifier"]),
    ("kernel", &["kernel"]),
    ("policy", &["policy"]),
    ("prover", &["prover"]),
    (
        "machines",
        &[
            "governance",
            "identity",
            "tokens",
            "allocator",
            "approvals",
            "proofs",
            "nexus",
            "gaps",
            "todos",
            "backup",
            "health",
            "crypto",
            "retention",
            "security",
            "subjects",
            "subscriptions",
        ],
    ),
    ("bearer", &["bearer"]),
    ("suites", &["suites"]),
    ("certificates", &["certificates"]),
    ("config", &["config"]),
    ("foundation", &["journal", "keyring", "keystore", "supervisors"]),
    ("evidence", &["evidence"]),
    ("vault, checks", &["vault", "checks"]),
    ("bucket", &["bucket"]),
    ("host", &["host"]),
    ("door, workers", &["door", "workers"]),
    ("edge", &["http", "issuers", "protocols"]),
    ("root", &["sop", "decoders", "kit", "library", "store"]),
];

/// The kit drives the whole, and the library's program uses it, so they are over the root.
const WITHIN_A_LAYER: [(&str, &str); 2] = [("kit", "sop"), ("library", "sop")];

/// Third-party crates that a machine may use: formats and pure engines, nothing that has a clock, a thread or a file.
const PURE: [&str; 6] = ["serde", "serde_json", "thiserror", "uuid", "blake3", "pulldown-cmark"];

/// Where something may be started: supervision itself, and the few places whose owner ends what it starts.
const SPAWNERS: [(&str, &str); 19] = [
    ("supervisors/src/", "supervision starts actors"),
    ("actors/host/src/owned.rs", "a task owned by an actor's state"),
    ("actors/foundation/journal/src/lib.rs", "the committer's thread, joined at close"),
    ("actors/foundation/journal/src/tail.rs", "zeros are written ahead; joined with the tail"),
    ("actors/foundation/journal/src/keeper.rs", "opening blocks; awaited by the start"),
    ("actors/foundation/bucket/src/lib.rs", "the connections' thread, joined when its owner goes"),
    ("actors/workers/src/scanner.rs", "a walk blocks; a flag ends it with its actor"),
    ("actors/workers/src/evidence.rs", "the log waits for the disk; one batch at a time, whoever asks"),
    ("actors/workers/src/erasure.rs", "destroying a key blocks; it ends by itself"),
    ("actors/workers/src/custodian.rs", "the keystore's files block; it ends by itself"),
    ("actors/workers/src/backup.rs", "writing a backup blocks; a flag ends it with its actor"),
    ("actors/edge/http/src/", "connections, owned by the server's actor"),
    ("actors/authority/door/src/front/counting.rs", "reading the records of a window blocks; it reads only"),
    ("src/desk/audit.rs", "re-reading everything blocks; it reads only"),
    ("src/attest.rs", "signing waits for the disk; it ends by itself"),
    ("src/gate.rs", "signing and reading wait for the disk; they end by themselves"),
    ("src/retention.rs", "reading and taking away block; a flag ends what takes away with its actor"),
    ("tests/", "tests own what they start"),
    ("benches/", "benches own what they start"),
];

const SPAWNS: [&str; 6] =
    ["tokio::spawn", "spawn_blocking", "spawn_local", "thread::spawn", "Builder::new().name", "Actor::spawn"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn packages() -> Vec<Package> {
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec().expect("cargo knows this workspace");
    metadata.packages
}

fn short(package: &str) -> &str {
    package.strip_prefix("sop-").unwrap_or(package)
}

fn layer(package: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, crates)| crates.contains(&package))
}

/// All Rust sources below the folders of the project, with their paths from the root.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left: Vec<PathBuf> =
        ["src", "actors", "supervisors", "config", "tests", "benches"].map(|folder| root().join(folder)).into();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                // What a build made, where it was told to make it there.
                left.extend((!path.ends_with("target")).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).expect("a readable source"));
            }
        }
    }
    assert!(50 < found.len(), "the sources are where this test looks");
    found
}

#[test]
fn dependencies_point_down() {
    for package in packages() {
        let name = short(&package.name).to_owned();
        let own = layer(&name).unwrap_or_else(|| panic!("{name} has no place in the layers"));
        for dependency in package.dependencies.iter().filter(|one| one.kind == DependencyKind::Normal) {
            let other = short(&dependency.name);
            let Some(below) = layer(other).filter(|_| dependency.path.is_some()) else { continue };
            let allowed = below < own || WITHIN_A_LAYER.contains(&(name.as_str(), other));
            assert!(allowed, "{name} must not depend on {other}: dependencies point down only");
        }
    }
}

#[test]
fn machines_depend_on_nothing_that_acts() {
    let machines = LAYERS.iter().find(|(name, _)| *name == "machines").expect("there are machines").1;
    for package in packages()
        .iter()
        .filter(|package| machines.contains(&short(&package.name)) || package.name.as_str() == "sop-kernel")
    {
        for dependency in package.dependencies.iter().filter(|one| one.kind == DependencyKind::Normal) {
            let ours = ["sop-kernel", "sop-policy"].contains(&dependency.name.as_str());
            let fine = ours || PURE.contains(&dependency.name.as_str());
            assert!(fine, "{} is pure and must not depend on {}", package.name, dependency.name);
        }
    }
}

#[test]
fn supervision_stands_alone() {
    let supervisors =
        packages().into_iter().find(|package| package.name.as_str() == "sop-supervisors").expect("it is here");
    let ours: Vec<_> =
        supervisors.dependencies.iter().filter(|one| one.path.is_some()).map(|one| one.name.clone()).collect();
    assert!(ours.is_empty(), "supervisors is usable alone and depends on nothing of ours: {ours:?}");
}

/// Who verifies must not repeat the errors of who writes: no code of ours, no cryptography of the authority's, and little
/// enough of others' that an auditor can read it.
#[test]
fn the_verifier_shares_nothing_with_the_authority() {
    let metadata = MetadataCommand::new().current_dir(root()).exec().expect("cargo knows this workspace");
    let package = |name: &str| metadata.packages.iter().find(|package| package.name.as_str() == name);
    let normal = |package: &Package| -> BTreeSet<String> {
        let normal = package.dependencies.iter().filter(|one| one.kind == DependencyKind::Normal);
        normal.map(|one| one.name.clone()).collect()
    };
    let verifier = normal(package("sop-verifier").expect("it is here"));
    assert_eq!(verifier, ["base64ct", "ed25519-dalek", "ml-dsa", "sha2"].map(str::to_owned).into());
    for other in metadata.workspace_packages() {
        let shared: Vec<_> = normal(other).intersection(&verifier).cloned().collect();
        assert!(shared.is_empty() || other.name.as_str() == "sop-verifier", "{} uses {shared:?}, too", other.name);
    }
    let resolve = metadata.resolve.as_ref().expect("the dependencies are resolved");
    let mut all = BTreeSet::new();
    let mut left = vec![package("sop-verifier").expect("it is here").id.clone()];
    while let Some(id) = left.pop() {
        let node = resolve.nodes.iter().find(|node| node.id == id).expect("each package is resolved");
        let is_normal = |dependency: &&cargo_metadata::NodeDep| {
            dependency.dep_kinds.iter().any(|one| one.kind == DependencyKind::Normal)
        };
        if all.insert(id.clone()) {
            left.extend(node.deps.iter().filter(is_normal).map(|dependency| dependency.pkg.clone()));
        }
    }
    // For all platforms; about thirty for one. What withstands quantum computers (ml-dsa) is fifteen of them.
    assert!(all.len() <= 51, "the verifier's dependencies stay few: {} of them", all.len());
}

#[test]
fn every_crate_takes_the_common_lints_and_has_content() {
    for package in packages() {
        let manifest = fs::read_to_string(&package.manifest_path).expect("a readable manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} takes the workspace's lints", package.name);
        assert!(
            package.targets.iter().any(|target| Path::new(&target.src_path).exists()),
            "{} has content",
            package.name
        );
    }
}

#[test]
fn every_module_has_a_head() {
    for (name, text) in sources() {
        let head = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        assert!(head.starts_with("//!"), "{name} does not say at its top what it is, how it fits, what holds");
    }
}

#[test]
fn nothing_is_started_but_by_supervision() {
    for (name, text) in sources() {
        if SPAWNERS.iter().any(|(place, _)| name.starts_with(place)) || name.contains("/tests/") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for spawn in SPAWNS {
                assert!(
                    !line.contains(spawn),
                    "{name}:{} starts something: {spawn}; make it a supervised child",
                    number + 1
                );
            }
        }
    }
}

#[test]
fn machines_meet_in_the_routes_only() {
    let (_, concerns) = LAYERS.iter().find(|(layer, _)| *layer == "machines").expect("there is a layer of machines");
    for (name, text) in sources().iter().filter(|(name, _)| name.starts_with("actors/") && name.contains("/src/")) {
        // The door reads two of them by design; a worker serves the one it is named after.
        if name.starts_with("actors/authority/door/") {
            continue;
        }
        let used = |concern: &&str| text.contains(&format!("{concern}::")) && !name.contains(&format!("/{concern}/"));
        let used: Vec<_> = concerns.iter().copied().filter(used).collect();
        assert!(used.len() <= 1, "{name} knows {used:?}: machines meet in src/routes.rs only");
    }
}

/// A frozen body is numbers, byte arrays, text, options and lists of such.
#[test]
fn frozen_records_hold_nothing_that_moves() {
    let mut seen = 0;
    for (name, text) in sources().into_iter().filter(|(name, _)| name.starts_with("actors/")) {
        let frozen = if name.ends_with("/records.rs") {
            text
        } else if let Some((_, records)) = text.split_once("pub mod records {") {
            records.to_owned()
        } else {
            continue;
        };
        for body in frozen.split("pub struct ").skip(1) {
            let body = body.split("\n}").next().unwrap_or_default().split("\n    }").next().unwrap_or_default();
            seen += 1;
            for moving in ["usize", "isize", "HashMap", "HashSet", "BTreeMap", "f32", "f64", "#[serde", "Box<", "enum "]
            {
                assert!(!body.contains(moving), "{name}: a frozen body holds {moving}: {body}");
            }
        }
    }
    assert!(20 < seen, "the frozen bodies are where this test looks: {seen}");
}

#[test]
fn a_kind_names_one_event_for_ever() {
    let mut names: BTreeMap<(u32, u32), String> = BTreeMap::new();
    let mut ids: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for (name, text) in sources().iter().filter(|(name, _)| name.starts_with("actors/") && name.contains("/src/")) {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for kind in code.split("Kind { id: ").skip(1) {
            let number =
                |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
            let Some(id) = number(kind) else { continue };
            let version = kind.split("version: ").nth(1).and_then(number).unwrap_or_default();
            let earlier = names.insert((id, version), name.clone());
            assert_eq!(earlier, None, "kind {id} version {version} is registered twice: in {name} too");
            ids.entry(id).or_default().insert(name.clone());
        }
    }
    assert!(20 < names.len(), "the kinds are where this test looks: {}", names.len());
    let published = fs::read_to_string(root().join("tests/journals/shapes.txt")).expect("the published shapes");
    let published: BTreeSet<_> = published
        .lines()
        .map(|line| {
            let mut words = line.split(' ').map(|word| word.parse().expect("a line begins with id and version"));
            (words.next().expect("an id"), words.next().expect("a version"))
        })
        .collect();
    assert!(
        published.iter().eq(names.keys()),
        "tests/journals/main.rs looks at every concern that records facts, and at no other: {:?}",
        published.symmetric_difference(&names.keys().copied().collect()).collect::<Vec<_>>()
    );
    assert!(ids.values().all(|places| places.len() == 1), "the versions of a kind stand together: {ids:?}");
}

#[test]
fn the_top_level_is_the_customers_card() {
    let visible: BTreeSet<_> = fs::read_dir(root())
        .expect("the root is readable")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && !["target", "sop-data"].contains(&name.as_str()))
        .collect();
    let card = [
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "actors",
        "benches",
        "config",
        "docs",
        "src",
        "supervisors",
        "tests",
    ];
    let unknown: Vec<_> = visible.iter().filter(|name| !card.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "the top level shows the architecture and nothing else: {unknown:?}");
}
