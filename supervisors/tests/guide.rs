//! The guide, docs/supervision.md, names tests and files that there are. Its program is compiled and run as a doctest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const GUIDE: &str = include_str!("../../docs/supervision.md");

/// All words that are set as code in this part of the guide, programs and commands left out.
fn words(part: &str) -> impl Iterator<Item = &str> {
    part.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2))
}

fn file(of: &[&str]) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    match of {
        // What only a start that no public child can have shows is tested inside.
        ["undying"] => package.join("src/shell/undying.rs"),
        _ => package.join("tests").join(of.join("/")).with_extension("rs"),
    }
}

#[test]
fn every_guarantee_names_a_test_that_there_is() {
    let mut tests = 0;
    for word in words(GUIDE).filter(|word| word.contains("::") && !word.starts_with(char::is_uppercase)) {
        let (of, test) = word.rsplit_once("::").unwrap();
        let path = file(&of.split("::").collect::<Vec<_>>());
        let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{word}: {} {error}", path.display()));
        assert!(source.contains(&format!("fn {test}(")), "there is no {word}");
        tests += 1;
    }
    assert!(tests > 40, "the table is where this test looks: {tests}");
}

#[test]
fn every_file_it_names_is_there() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    for word in words(GUIDE).filter(|word| word.starts_with("src/")) {
        assert!(package.join(word).exists(), "there is no {word}");
    }
}

/// What the guide says of OTP has names of OTP.
#[test]
fn every_name_that_it_uses_is_ours() {
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut source = String::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            source += &fs::read_to_string(path).unwrap();
        }
    }
    let is_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    let ours: BTreeSet<_> = source.split(|c| !is_of_a_name(c)).collect();
    let (usage, _) = GUIDE.split_once("## What is guaranteed").unwrap();
    let mut names = 0;
    for word in words(usage) {
        let word = word.split('(').next().unwrap_or_default();
        for name in word.split("::").filter(|name| name.chars().all(is_of_a_name)) {
            assert!(ours.contains(name), "there is no {name}");
            names += 1;
        }
    }
    assert!(names > 60, "the names are where this test looks: {names}");
}
