//! Surveys of real directories.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gaps::Kind::{BrokenLink, InvalidDocument, Marker, MissingDocument};
use gaps::{Coverage, Finding};
use tempfile::TempDir;
use workers::scan::{Limits, ScanError, Skipped, Survey, scan};

const SIX: [&str; 6] = [
    "MANIFEST.md",
    "ORDER_OF_OPERATIONS.md",
    "STACK_POSITION.md",
    "RUNTIME_ROLE.md",
    "GOVERNANCE_SCOPE.md",
    "METADATA.json",
];

/// A directory that has the six documents, and these files.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = bare(files);
    for name in SIX {
        write(root.path(), &format!("docs/{name}"), if name == "METADATA.json" { "{}" } else { "# a" });
    }
    root
}

fn bare(files: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().unwrap();
    for (path, text) in files {
        write(root.path(), path, text);
    }
    root
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn survey(root: &Path) -> Survey {
    scan(root, &Limits::default(), &AtomicBool::new(false)).unwrap()
}

fn said(survey: &Survey) -> Vec<(gaps::Kind, &str, u32, &str)> {
    survey.findings.iter().map(|Finding { kind, path, line, detail, .. }| (*kind, &**path, *line, &**detail)).collect()
}

/// Root may read everything; what is denied cannot be tested as root.
fn denies(path: &Path) -> bool {
    fs::read_dir(path).is_err() && fs::read(path).is_err()
}

#[test]
fn what_is_there_is_found_in_the_order_of_the_walk() {
    let root = tree(&[
        ("b.rs", "fn b() {\n    todo!(\"write b\")\n}\n"),
        ("a/z.md", "[x](../b.rs) [y](y.md)\n\n[y](y.md#z) [docs](../docs) [img](./no%20such.png)"),
        ("a.py", "# TODO: first\n# FIXME second\n"),
        ("a.txt", "# TODO not looked at"),
    ]);
    let survey = survey(root.path());
    assert_eq!(
        said(&survey),
        [
            (BrokenLink, "a/z.md", 1, "y.md"),
            (BrokenLink, "a/z.md", 3, "y.md"),
            (BrokenLink, "a/z.md", 3, "./no such.png"),
            (Marker, "a.py", 1, "TODO: first"),
            (Marker, "a.py", 2, "FIXME second"),
            (Marker, "b.rs", 2, "todo!(\"write b\")"),
        ]
    );
    assert_eq!(survey.findings.iter().map(|finding| finding.ordinal).collect::<Vec<_>>(), [0, 1, 0, 0, 0, 0]);
    assert_eq!(survey.root, root.path().canonicalize().unwrap().to_str().unwrap());
    assert_eq!(survey.coverage, Coverage::default());
    // The five Markdown documents are read too.
    assert_eq!((survey.tally.files, survey.tally.truncated), (8, false));
    assert_eq!(survey.skipped, Skipped { unknown: 2, ..Skipped::default() });
    assert_eq!(survey.tally.skipped, 2);
}

#[test]
fn the_six_documents_are_required() {
    let nothing = bare(&[]);
    let expected: Vec<_> = SIX.iter().map(|name| (MissingDocument, format!("docs/{name}"))).collect();
    let found: Vec<_> = survey(nothing.path()).findings.into_iter().map(|found| (found.kind, found.path)).collect();
    assert_eq!(found, expected);

    // No ignore file makes them optional, and a link to one within the root will do.
    let root = tree(&[(".gitignore", "docs"), ("meta.json", "{")]);
    fs::remove_file(root.path().join("docs/METADATA.json")).unwrap();
    symlink("../meta.json", root.path().join("docs/METADATA.json")).unwrap();
    write(root.path(), "docs/MANIFEST.md", "  \n");
    assert_eq!(
        said(&survey(root.path())),
        [(InvalidDocument, "docs/MANIFEST.md", 0, "empty"), (InvalidDocument, "docs/METADATA.json", 0, "not JSON"),]
    );

    // One that is a link out of the root is not the root's; a directory is no document.
    let outside = bare(&[("METADATA.json", "{}")]);
    let root = tree(&[]);
    for name in ["METADATA.json", "MANIFEST.md"] {
        fs::remove_file(root.path().join("docs").join(name)).unwrap();
    }
    symlink(outside.path().join("METADATA.json"), root.path().join("docs/METADATA.json")).unwrap();
    fs::create_dir(root.path().join("docs/MANIFEST.md")).unwrap();
    assert_eq!(
        said(&survey(root.path())),
        [(MissingDocument, "docs/MANIFEST.md", 0, ""), (MissingDocument, "docs/METADATA.json", 0, ""),]
    );
}

#[test]
fn what_is_ignored_or_hidden_is_not_walked() {
    let outer = tree(&[(".gitignore", "*.rs\n"), (".git/info/exclude", "*.py\n")]);
    let root = outer.path().join("inner");
    for (path, text) in [
        (".gitignore", "/out\n*.c\n!keep.c\n"),
        (".ignore", "vendor/\n"),
        ("out/a.rs", "// TODO"),
        ("a.c", "// TODO"),
        ("keep.c", "// TODO kept"),
        ("vendor/a.rs", "// TODO"),
        (".hidden/a.rs", "// TODO"),
        (".a.rs", "// TODO"),
        ("deep/.gitignore", "b.js\n"),
        ("deep/b.js", "// TODO"),
        ("deep/out/a.rs", "// TODO: the rules of a parent of the root do not count"),
        ("a.py", "# TODO nor does what git alone knows"),
        // What is ignored is there all the same.
        ("a.md", "[a](out/a.rs) [b](.hidden)"),
    ] {
        write(&root, path, text);
    }
    let survey = survey(&root);
    let markers: Vec<_> = survey.findings.iter().filter(|found| found.kind != MissingDocument).collect();
    let paths: Vec<_> = markers.iter().map(|found| found.path.as_str()).collect();
    assert_eq!(paths, ["a.py", "deep/out/a.rs", "keep.c"]);
}

#[test]
fn links_are_looked_up_as_a_reader_would_follow_them() {
    let outer = bare(&[("beside.md", "[a](nowhere.md)")]);
    let root = outer.path().join("root");
    fs::create_dir_all(root.join("real/deep")).unwrap();
    write(&root, "real/here.md", "");
    symlink("real/deep", root.join("short")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("round", root.join("round")).unwrap();
    write(
        &root,
        "a.md",
        "[in](real/) [up](../beside.md) [far](../../../../../../../../../../../../etc) [gone](../nowhere.md)
[back](real/deep/../here.md) [around](short/../real/here.md) [case](REAL/here.md) [link](dangling)
[through](a.md/b) [zero](a%00b) [self](.) [round](round)",
    );
    let long = "x".repeat(5_000);
    write(&root, "b.md", &format!("[a]({long})"));
    let survey = survey(&root);
    let broken: Vec<_> = said(&survey).into_iter().filter(|found| found.0 == BrokenLink).collect();
    assert_eq!(
        broken[..5],
        [
            (BrokenLink, "a.md", 1, "../nowhere.md"),
            (BrokenLink, "a.md", 2, "REAL/here.md"),
            (BrokenLink, "a.md", 2, "dangling"),
            (BrokenLink, "a.md", 3, "a.md/b"),
            (BrokenLink, "a.md", 3, "a\u{fffd}b"),
        ]
    );
    assert_eq!(broken[5], (BrokenLink, "b.md", 1, &long[..300]));
    assert_eq!(broken.len(), 6, "nothing outside is read");
}

#[test]
fn what_cannot_be_judged_is_skipped_counted_and_named() {
    let root =
        tree(&[("a.rs", "// TODO a"), ("large.rs", &"// TODO\n".repeat(100)), ("large.txt", &"x".repeat(1_000))]);
    fs::write(root.path().join("binary.c"), b"// TODO\0").unwrap();
    fs::write(root.path().join("latin.c"), b"// TODO caf\xe9").unwrap();
    fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"\xff.c")), "// TODO").unwrap();
    write(root.path(), &format!("{}/{}/{}/a.c", "d".repeat(200), "e".repeat(200), "f".repeat(200)), "// TODO");
    let _socket = UnixListener::bind(root.path().join("socket.rs")).unwrap();
    let limits = Limits { file_bytes: 100, ..Limits::default() };
    let survey = scan(root.path(), &limits, &AtomicBool::new(false)).unwrap();

    assert_eq!(said(&survey), [(Marker, "a.rs", 1, "TODO a"), (Marker, "latin.c", 1, "TODO caf\u{fffd}")]);
    assert_eq!(survey.coverage, Coverage { unread: vec!["large.rs".into()], judged_to: None });
    // Unknown are the metadata and the text.
    let expected = Skipped { unknown: 2, large: 1, binary: 1, special: 1, unnamed: 2, ..Skipped::default() };
    assert_eq!(survey.skipped, expected);
    assert_eq!(survey.tally.skipped, 7);
    assert!(!survey.tally.truncated);
}

#[test]
fn a_large_document_is_there() {
    let root = tree(&[("docs/METADATA.json", "")]);
    write(root.path(), "docs/METADATA.json", &"[".repeat(101));
    let limits = Limits { file_bytes: 100, ..Limits::default() };
    let survey = scan(root.path(), &limits, &AtomicBool::new(false)).unwrap();
    assert_eq!(said(&survey), []);
    assert_eq!(survey.coverage.unread, ["docs/METADATA.json"]);
}

#[test]
fn what_is_denied_is_named() {
    let root = tree(&[("a.rs", "// TODO a"), ("b/c.rs", "// TODO"), ("d.rs", "// TODO"), ("e.rs", "// TODO e")]);
    let (directory, file) = (root.path().join("b"), root.path().join("d.rs"));
    let permit = |mode| {
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    permit(0o000);
    if !denies(&directory) || !denies(&file) {
        permit(0o700);
        eprintln!("not tested: this user may read everything");
        return;
    }
    let survey = survey(root.path());
    permit(0o700);
    assert_eq!(said(&survey), [(Marker, "a.rs", 1, "TODO a"), (Marker, "e.rs", 1, "TODO e")]);
    assert_eq!(survey.coverage, Coverage { unread: vec!["b".into(), "d.rs".into()], judged_to: None });
    assert_eq!(survey.skipped.unreadable, 2);
}

#[test]
fn symbolic_links_are_not_followed() {
    let outside = bare(&[("secret.rs", "// TODO secret")]);
    let root = tree(&[("a/b.rs", "// TODO b")]);
    symlink("..", root.path().join("a/loop")).unwrap();
    symlink(outside.path(), root.path().join("outside")).unwrap();
    symlink(outside.path().join("secret.rs"), root.path().join("secret.rs")).unwrap();
    let survey = survey(root.path());
    assert_eq!(said(&survey), [(Marker, "a/b.rs", 1, "TODO b")]);
    assert_eq!(survey.skipped.symlinks, 3);

    // The root itself may be one.
    let link = outside.path().join("root");
    symlink(root.path(), &link).unwrap();
    assert_eq!(scan(&link, &Limits::default(), &AtomicBool::new(false)).unwrap(), survey);
}

#[test]
fn limits_end_a_walk_where_they_are_reached() {
    let three = "// TODO\n".repeat(3);
    let root = tree(&[("a.rs", &three), ("b.rs", &three), ("c.rs", &three)]);
    for (limits, found, judged_to) in [
        (Limits { findings: 9, ..Limits::default() }, 9, None),
        (Limits { findings: 8, ..Limits::default() }, 8, Some("c.rs")),
        (Limits { findings: 6, ..Limits::default() }, 6, Some("c.rs")),
        (Limits { findings: 5, ..Limits::default() }, 5, Some("b.rs")),
        // Three sources and the six documents; they come in the order of their names.
        (Limits { files: 9, ..Limits::default() }, 9, None),
        (Limits { files: 8, ..Limits::default() }, 9, Some("docs/STACK_POSITION.md")),
        (Limits { files: 1, ..Limits::default() }, 3, Some("b.rs")),
        (Limits { files: 0, ..Limits::default() }, 0, Some("a.rs")),
    ] {
        let survey = scan(root.path(), &limits, &AtomicBool::new(false)).unwrap();
        assert_eq!(survey.findings.len(), found, "{limits:?}");
        assert_eq!(survey.coverage.judged_to.as_deref(), judged_to, "{limits:?}");
        assert_eq!(survey.tally.truncated, judged_to.is_some(), "{limits:?}");
        assert_eq!(survey.coverage.unread, [""; 0], "{limits:?}");
    }
    let many = tree(&[("a.rs", &"// TODO\n".repeat(6_000))]);
    let limits = Limits { findings: usize::MAX, ..Limits::default() };
    let survey = scan(many.path(), &limits, &AtomicBool::new(false)).unwrap();
    assert_eq!(survey.findings.len(), gaps::FINDINGS_MAX);
}

#[test]
fn more_unread_files_than_can_be_named_end_what_is_judged_and_not_the_walk() {
    let root = tree(&[("z.rs", "// TODO z")]);
    for number in 0..=gaps::UNREAD_MAX {
        write(root.path(), &format!("large/{number:04}.rs"), "// TODO, and too much of it");
    }
    let limits = Limits { file_bytes: 10, ..Limits::default() };
    let survey = scan(root.path(), &limits, &AtomicBool::new(false)).unwrap();
    assert_eq!(said(&survey), [(Marker, "z.rs", 1, "TODO z")]);
    assert_eq!(survey.coverage.unread.len(), gaps::UNREAD_MAX);
    assert_eq!(survey.coverage.judged_to.as_deref(), Some("large/1000.rs"));
    assert_eq!((survey.tally.truncated, survey.skipped.large), (false, 1_001));
}

#[test]
fn two_surveys_of_a_large_tree_are_equal() {
    let root = tree(&[]);
    for directory in 0..100 {
        let path = root.path().join(format!("d{directory}"));
        fs::create_dir(&path).unwrap();
        for file in 0..100 {
            let text = if file % 25 == 0 { format!("// TODO {file}\n") } else { "int a;\n".into() };
            fs::write(path.join(format!("{file}.c")), text).unwrap();
        }
    }
    let first = survey(root.path());
    assert_eq!((first.tally.files, first.findings.len()), (10_005, 400));
    assert_eq!(survey(root.path()), first);
}

#[test]
fn what_is_no_readable_directory_is_refused() {
    let root = bare(&[("file", "")]);
    let path = |name: &str| root.path().join(name);
    let go = |path: &Path| scan(path, &Limits::default(), &AtomicBool::new(false));
    let shown = |path: &Path| path.display().to_string();

    let missing = path("missing");
    assert_eq!(go(&missing), Err(ScanError::Missing { root: shown(&missing) }));
    assert_eq!(go(&path("file")), Err(ScanError::NotADirectory { root: shown(&path("file")) }));
    let unnamed = root.path().join(std::ffi::OsStr::from_bytes(b"\xff"));
    fs::create_dir(&unnamed).unwrap();
    assert_eq!(go(&unnamed), Err(ScanError::Unnamed { root: shown(&unnamed) }));
    let denied = path("denied");
    fs::create_dir(&denied).unwrap();
    fs::set_permissions(&denied, fs::Permissions::from_mode(0o000)).unwrap();
    if denies(&denied) && fs::read_dir(&denied).is_err() {
        assert!(matches!(go(&denied), Err(ScanError::Unreadable { .. })));
    }
    fs::set_permissions(&denied, fs::Permissions::from_mode(0o700)).unwrap();

    let long = scan(&path(&"é\"".repeat(2_000)), &Limits::default(), &AtomicBool::new(false)).unwrap_err();
    assert!(long.to_string().len() <= gaps::DETAIL_MAX, "an abandoned scan can say this: {long}");
}

#[test]
fn a_stopped_scan_says_so() {
    let root = tree(&[("a.rs", "// TODO")]);
    assert_eq!(scan(root.path(), &Limits::default(), &AtomicBool::new(true)), Err(ScanError::Stopped));
}
