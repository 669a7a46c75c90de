//! What is wrong with a policy text, worded for its author.

use core::fmt;

use cedar_policy::{ParseError, PolicyId, ValidationError, ValidationWarning};
use miette::Diagnostic;
use serde::{Deserialize, Serialize};

/// One thing that is wrong with a policy text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Where it starts, from 1; `None` where the text as a whole is meant.
    pub line: Option<u32>,
    /// Counts characters, from 1.
    pub column: Option<u32>,
    /// The policy's id, where it is known.
    pub policy: Option<String>,
    /// Stable, for programs: `policy.unknown_action`.
    pub code: String,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "line {line}, column {column}: ")?;
        }
        if let Some(policy) = &self.policy {
            write!(f, "in policy {policy:?}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Problem {
    /// About the text as a whole.
    pub(crate) fn of_text(code: &str, message: String) -> Self {
        Self { line: None, column: None, policy: None, code: code.to_owned(), message }
    }

    /// About one policy that starts at `offset`.
    pub(crate) fn of_policy(text: &str, offset: usize, policy: &str, code: &str, message: String) -> Self {
        Self { policy: Some(policy.to_owned()), ..Self::at(text, Some(offset), code, message) }
    }

    /// At a byte of the text.
    pub(crate) fn at(text: &str, offset: Option<usize>, code: &str, message: String) -> Self {
        let (line, column) = offset.and_then(|offset| text.get(..offset)).map(place_after).unzip();
        Self { line, column, policy: None, code: code.to_owned(), message }
    }

    /// Where Cedar's diagnostic points to, in Cedar's words.
    fn diagnosed(text: &str, code: &str, policy: Option<&PolicyId>, diagnostic: &dyn Diagnostic) -> Self {
        let offset = diagnostic.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
        let policy = policy.map(|id| AsRef::<str>::as_ref(id).to_owned());
        Self { policy, ..Self::at(text, offset, code, worded(diagnostic)) }
    }

    pub(crate) fn syntax(text: &str, error: &ParseError) -> Self {
        Self::diagnosed(text, "policy.syntax", None, error)
    }

    pub(crate) fn invalid(text: &str, error: &ValidationError) -> Self {
        let code = match error {
            ValidationError::UnrecognizedEntityType(_) => "policy.unknown_type",
            ValidationError::UnrecognizedActionId(_) => "policy.unknown_action",
            ValidationError::UnexpectedType(_) | ValidationError::IncompatibleTypes(_) => "policy.type_mismatch",
            ValidationError::UnsafeAttributeAccess(_) | ValidationError::UnsafeOptionalAttributeAccess(_) => {
                "policy.unknown_attribute"
            }
            _ => "policy.invalid",
        };
        Self::diagnosed(text, code, Some(error.policy_id()), error)
    }

    /// What Cedar only warns of and what we refuse: a rule that protects nobody but looks as if it did, and characters
    /// that make a text look like another. `None` for the warnings that may be meant so.
    pub(crate) fn refused_warning(text: &str, warning: &ValidationWarning) -> Option<Self> {
        let (code, message) = match warning {
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) => {
                let message = "no valid request matches this policy; look at its resource type and its conditions";
                ("policy.never_applies", message.to_owned())
            }
            ValidationWarning::BidiCharsInString(_) | ValidationWarning::BidiCharsInIdentifier(_) => {
                ("policy.hidden_characters", worded(warning))
            }
            _ => return None,
        };
        Some(Self { message, ..Self::diagnosed(text, code, Some(warning.policy_id()), warning) })
    }
}

/// Line and column, both from 1, of what comes right after `before`.
fn place_after(before: &str) -> (u32, u32) {
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (number(line), number(column))
}

/// Cedar's words, with its advice, without the policy's id, which stands beside them.
fn worded(diagnostic: &dyn Diagnostic) -> String {
    let whole = diagnostic.to_string();
    let message = match whole.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")) {
        Some((_, message)) => message.to_owned(),
        None => whole,
    };
    match diagnostic.help() {
        Some(help) => format!("{message}; {help}"),
        None => message,
    }
}
