//! The guide, docs/supervision.md, names tests and files that there are. Its program is compiled and run as a doctest.

use std::fs;
use std::path::{Path, PathBuf};

const GUIDE: &str = include_str!("../../docs/supervision.md");

/// All words of the guide that are set as code.
fn words() -> impl Iterator<Item = &'static str> {
    GUIDE
        .split("\n## ")
        .flat_map(|section| section.split("```").step_by(2))
        .flat_map(|text| text.split('`').skip(1).step_by(2))
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
    for word in words().filter(|word| word.contains("::") && !word.starts_with(char::is_uppercase)) {
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
    for word in words().filter(|word| word.starts_with("src/")) {
        assert!(package.join(word).exists(), "there is no {word}");
    }
}
