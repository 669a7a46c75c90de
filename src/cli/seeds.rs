//! The command lines of the first runbooks, kept as other spellings of today's.
//!
//! `sop --initialize --full-stack` is `sop up`; `sop --emergency-shutdown` is `sop emergency-stop` with that reason.

use std::ffi::OsString;

/// Options before the command that take a value, so that the value is not taken for the command.
const WITH_VALUE: [&str; 6] = ["--data", "--socket", "--config", "--credential", "--output", "-o"];

const INITIALIZE: &str = "--initialize";
const FULL_STACK: &str = "--full-stack";
const SHUTDOWN: &str = "--emergency-shutdown";

/// The arguments, program name first, in today's spelling. What has a command already is left as it is.
pub fn rewritten(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let command: &[&str] = match (has(INITIALIZE), has(FULL_STACK), has(SHUTDOWN)) {
        (true, true, false) => &["up"],
        (false, false, true) => &["emergency-stop", "--reason", "emergency shutdown"],
        _ => return arguments,
    };
    if has_command(&arguments) {
        return arguments;
    }
    let old = |argument: &OsString| [INITIALIZE, FULL_STACK, SHUTDOWN].iter().any(|flag| argument == flag);
    let kept = arguments.into_iter().filter(|argument| !old(argument));
    kept.chain(command.iter().map(OsString::from)).collect()
}

fn has_command(arguments: &[OsString]) -> bool {
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        if WITH_VALUE.iter().any(|flag| argument == flag) {
            rest.next();
        } else if !argument.to_string_lossy().starts_with('-') {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_spellings_mean_todays_commands() {
        for (line, expected) in [
            ("sop --initialize --full-stack", "sop up"),
            ("sop --full-stack --data /d --initialize", "sop --data /d up"),
            ("sop --emergency-shutdown", "sop emergency-stop --reason emergency|shutdown"),
            ("sop -o json --emergency-shutdown", "sop -o json emergency-stop --reason emergency|shutdown"),
            // Half a line, two lines, and lines that have a command are for clap to complain about.
            ("sop --initialize", "sop --initialize"),
            (
                "sop --initialize --full-stack --emergency-shutdown",
                "sop --initialize --full-stack --emergency-shutdown",
            ),
            ("sop status --emergency-shutdown", "sop status --emergency-shutdown"),
            ("sop emergency-stop --reason --emergency-shutdown", "sop emergency-stop --reason --emergency-shutdown"),
            ("sop up", "sop up"),
            ("sop", "sop"),
        ] {
            let words =
                |line: &str| line.split(' ').map(|word| OsString::from(word.replace('|', " "))).collect::<Vec<_>>();
            assert_eq!(rewritten(words(line)), words(expected), "{line}");
        }
    }
}
