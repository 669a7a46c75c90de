//! A configuration to start from: written whole or not at all, never over another, and true to what is in force.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use crate::{Place, failed};

/// All options as `sop config show` has them, without the two that the command line of this test gives.
fn shown(place: &Place) -> Vec<(String, String)> {
    let shown = place.daemon.run(&["config", "show", "-o", "json"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    let text = |option: &serde_json::Value, name: &str| option[name].as_str().unwrap().to_owned();
    let options = shown["options"].as_array().unwrap().iter();
    let options = options.map(|option| (text(option, "key"), text(option, "origin")));
    options.filter(|(key, _)| !["store.data", "http.socket"].contains(&key.as_str())).collect()
}

#[test]
fn the_first_configuration_is_in_the_data_directory_and_changes_nothing() {
    let place = Place::new();
    let made = place.daemon.run(&["config", "init"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let file = place.daemon.data.join("sop.toml");
    assert!(made.stdout.starts_with(&format!("{} is written", file.display())), "{made:?}");
    let rights = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((rights(&place.daemon.data), rights(&file)), (0o700, 0o600));
    assert_eq!(std::fs::read_dir(&place.daemon.data).unwrap().count(), 1, "no draft is left");
    assert!(shown(&place).iter().all(|(_, origin)| origin == "default"), "{:?}", shown(&place));

    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("#level = \"info\"", "level = \"debug\"");
    std::fs::write(&file, &text).unwrap();
    let other: Vec<_> = shown(&place).into_iter().filter(|(_, origin)| origin != "default").collect();
    assert_eq!(other.len(), 1, "{other:?}");
    assert!(other[0].0 == "log.level" && other[0].1.contains("sop.toml:"), "{other:?}");

    failed(&place.daemon.run(&["config", "init"]), 1, &["error[cli.config_exists]", "--force"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "what was edited stays");
    assert_eq!(place.daemon.run(&["config", "init", "--force"]).code, Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), config::template(true));
}

#[test]
fn a_configuration_goes_where_it_is_wanted() {
    let place = Place::new();
    let printed = place.daemon.run(&["config", "init", "--file", "-"]);
    assert_eq!((printed.code, printed.stdout), (Some(0), config::template(false)));
    assert!(!place.daemon.data.exists(), "and nothing is made");

    let file = place.home.path().join("etc.toml");
    let named = |arguments: &[&str]| {
        let mut command: Command = place.daemon.command(arguments);
        command.env("SOP_CONFIG", &file).output().unwrap()
    };
    assert!(named(&["config", "init"]).status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), config::template(false));
    assert!(named(&["config", "validate"]).status.success());

    let absent = place.home.path().join("absent/etc.toml");
    let words = ["error[cli.config_unwritten]", "absent/etc.toml cannot be written"];
    failed(&place.daemon.run(&["config", "init", "--file", absent.to_str().unwrap()]), 1, &words);
    // One that leads nowhere is in the way too, and what it leads to is not made.
    let link = place.home.path().join("link.toml");
    symlink(&absent, &link).unwrap();
    failed(&place.daemon.run(&["config", "init", "--file", link.to_str().unwrap()]), 1, &["error[cli.config_exists]"]);
    let directory = place.home.path().to_str().unwrap();
    failed(&place.daemon.run(&["config", "init", "--force", "--file", directory]), 1, &["error[cli.config_unwritten]"]);
    let left = std::fs::read_dir(place.home.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.to_str().unwrap().contains(".new")).count(), 0, "no draft is left");
}

#[test]
fn the_data_directory_is_the_same_by_another_name() {
    let place = Place::new();
    std::fs::create_dir(&place.daemon.data).unwrap();
    let other = place.home.path().join("other");
    symlink(&place.daemon.data, &other).unwrap();
    let file = other.join("sop.toml");
    assert_eq!(place.daemon.run(&["config", "init", "--file", file.to_str().unwrap()]).code, Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), config::template(true), "it does not name another directory");
}
