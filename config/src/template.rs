//! The configuration that an operator starts from: every option explained, and each one commented out.

use crate::DEFAULT;

/// Stands above a file of the operator's own, where `default.toml` says what it is itself.
const HEAD: &str = "\
# The configuration of SOP: every option with its default, commented out. A line counts once its `#` is taken away.";

/// In the place of `store.data`, which a file in the data directory may not set.
const BESIDE_THE_DATA: &str = "\
# The data directory is the one that this file lies in. Another is named with --data or $SOP_DATA.";

/// The text of a file that changes nothing until somebody edits it.
///
/// `beside_the_data` is for the file that is looked for in the data directory: it does not offer to name another one.
pub fn template(beside_the_data: bool) -> String {
    // What a paragraph explains stands below it, so an option is left out together with the comment lines above it.
    let mut text = HEAD.to_owned();
    let mut explained = String::new();
    let mut section = "";
    // The first paragraph is about `default.toml`.
    for line in DEFAULT.lines().skip_while(|line| !line.is_empty() && *line != "#") {
        explained.push('\n');
        match line.split_once(" = ") {
            Some((option, _)) if !line.starts_with('#') => {
                if beside_the_data && section == "[store]" && option == "data" {
                    explained = format!("\n{BESIDE_THE_DATA}");
                } else {
                    explained.push('#');
                    explained.push_str(line);
                }
            }
            _ => explained.push_str(line),
        }
        if !line.starts_with("# ") {
            text.push_str(&explained);
            explained.clear();
            section = if line.starts_with('[') { line } else { section };
        }
    }
    text.push('\n');
    text
}
