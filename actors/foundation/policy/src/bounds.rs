//! What must hold before a text is shown to Cedar.
//!
//! Cedar recurses over what it reads, in parsing, in validation and in evaluation. How deep it may go must not be up to
//! whoever wrote the text, so depth is bounded here, by counting what can make an expression deeper.

use crate::{Policies, Problem};

/// Deepest nesting of brackets.
const NESTING_MAX: usize = 32;

/// Most operators, brackets and `if`s in one policy. Names, literals and commas are free: a list may be long.
const OPERATORS_MAX: usize = 128;

/// # Errors
/// If a proposal could not hold the text.
pub(crate) fn length(text: &str) -> Result<(), Problem> {
    if text.len() <= Policies::TEXT_MAX {
        return Ok(());
    }
    let message = format!("the text has {} bytes, over the limit of {}", text.len(), Policies::TEXT_MAX);
    Err(Problem::of_text("policy.too_long", message))
}

/// The most operators that one policy of the text has, which no expression in it is deeper than.
///
/// # Errors
/// The first bound that the text exceeds.
pub(crate) fn depth(text: &str) -> Result<usize, Problem> {
    let too_complex = |at: usize, message: String| Err(Problem::at(text, Some(at), "policy.too_complex", message));
    let (mut nesting, mut operators, mut most) = (0_usize, 0_usize, 0_usize);
    for (at, token) in tokens(text) {
        match token {
            ";" => {
                (nesting, operators) = (0, 0);
                continue;
            }
            "(" | "[" | "{" => nesting += 1,
            ")" | "]" | "}" => nesting = nesting.saturating_sub(1),
            _ => {}
        }
        operators += 1;
        most = most.max(operators);
        if nesting > NESTING_MAX {
            return too_complex(at, format!("brackets are nested deeper than {NESTING_MAX}"));
        }
        if operators > OPERATORS_MAX {
            let message = format!("one policy has more than {OPERATORS_MAX} operators; use a set, or two policies");
            return too_complex(at, message);
        }
    }
    Ok(most)
}

/// What can make an expression deeper, and the semicolons between policies. Strings and comments are read over as
/// Cedar's own lexer does.
fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let at = text.len() - rest.len();
            let first = rest.chars().next()?;
            let length = match first {
                '"' => string(rest),
                '/' if rest.starts_with("//") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
                _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                '&' if rest.starts_with("&&") => 2,
                '|' if rest.starts_with("||") => 2,
                _ => first.len_utf8(),
            };
            let token;
            (token, rest) = rest.split_at(length);
            let free = first.is_whitespace()
                || token.starts_with("//")
                || matches!(first, '"' | ',' | ':' | '@' | '=' | '<' | '>')
                || is_word(first) && token != "if";
            if !free {
                return Some((at, token));
            }
        }
    })
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The length of the string literal that `text` starts with, quotes included; of all the rest, if it does not end.
fn string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}
