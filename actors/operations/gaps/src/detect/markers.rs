//! Notes in source files that something is still to be done.
//!
//! A file's language is told by its name. A small lexer tells comments from strings from code:
//!
//! - in comments: `TODO` and `FIXME` as whole words in capitals, unless they are spoken of, in backticks as here; and
//!   `XXX` where a comment begins with it;
//! - in Rust code: `todo!` and `unimplemented!` being called; in Python code: `raise NotImplementedError`.
//!
//! What stands in a string is neither, Python's documentation strings and Rust's raw strings included. The lexer knows
//! quotes, escapes and comments and nothing else of a language, so it can lose a comment behind an unbalanced quote (a
//! regular expression of JavaScript, a here-document of a shell): to the end of that line or, where the quote opens a
//! string of several lines, to where the next one ends.

use alloc::string::String;
use alloc::vec::Vec;

use crate::finding::clipped;
use crate::vocabulary::{DETAIL_MAX, FINDINGS_MAX};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// From the marker to the end of its line.
    pub text: String,
    /// From 1.
    pub line: u32,
}

/// Whether the name of the file is one that [`markers`] reads.
pub fn is_source(path: &str) -> bool {
    language(path).is_some()
}

/// In the order of their lines; none for a file in a language that is not known. One more than a whole scan may report
/// is the most that is looked for.
pub fn markers(path: &str, text: &str) -> Vec<Marker> {
    let mut found = Vec::new();
    if let Some(language) = language(path) {
        pieces(language, text, |piece| {
            let (said, room) = (&text[piece.start..piece.end], (FINDINGS_MAX + 1).saturating_sub(found.len()));
            let marker = |at| piece.marker(text, at);
            match piece.within {
                Within::Comment => found.extend(note(said).map(marker).into_iter().take(room)),
                Within::Code => found.extend(stubs(language.stubs, said).map(marker).take(room)),
            }
        });
    }
    found
}

/// What a lexer has to know of a language.
struct Language {
    /// What opens a comment up to the end of the line.
    line: &'static [&'static str],
    /// What opens and closes a longer one.
    block: Option<(&'static str, &'static str)>,
    /// Longer comments lie within each other.
    nested: bool,
    /// A comment begins only where a word could.
    apart: bool,
    /// So does a string: elsewhere a quote is an apostrophe.
    quotes_apart: bool,
    quotes: &'static [Quote],
    stubs: Stubs,
}

/// A string that ends as it begins.
struct Quote {
    mark: &'static str,
    /// A backslash takes the next character's meaning.
    escapes: bool,
    /// May go over several lines; else it ends with its line, whatever is missing.
    lines: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stubs {
    None,
    Rust,
    Python,
}

const fn quote(mark: &'static str) -> Quote {
    Quote { mark, escapes: true, lines: false }
}

const fn literal(mark: &'static str) -> Quote {
    Quote { mark, escapes: false, lines: false }
}

const fn long(mark: &'static str) -> Quote {
    Quote { mark, escapes: true, lines: true }
}

const fn long_literal(mark: &'static str) -> Quote {
    Quote { mark, escapes: false, lines: true }
}

const C: Language = Language {
    line: &["//"],
    block: Some(("/*", "*/")),
    nested: false,
    apart: false,
    quotes_apart: false,
    quotes: &[quote("\""), quote("'")],
    stubs: Stubs::None,
};
// Character literals and raw strings are told apart in `Lexer::opening`.
const RUST: Language = Language { nested: true, quotes: &[long("\"")], stubs: Stubs::Rust, ..C };
const JAVA: Language = Language { quotes: &[long("\"\"\""), quote("\""), quote("'")], ..C };
const SCRIPT: Language = Language { quotes: &[quote("\""), quote("'"), long("`")], ..C };
const GO: Language = Language { quotes: &[quote("\""), quote("'"), long_literal("`")], ..C };
const PHP: Language = Language { line: &["//", "#"], ..C };
const CSS: Language = Language { line: &[], ..C };
const SQL: Language = Language { line: &["--"], quotes: &[literal("'"), literal("\"")], ..C };
const LUA: Language = Language { line: &["--"], block: Some(("--[[", "]]")), ..C };
const PYTHON: Language = Language {
    line: &["#"],
    block: None,
    quotes: &[long("\"\"\""), long("'''"), quote("\""), quote("'")],
    stubs: Stubs::Python,
    ..C
};
const TOML: Language = Language {
    line: &["#"],
    block: None,
    quotes: &[long("\"\"\""), long_literal("'''"), quote("\""), literal("'")],
    ..C
};
const SHELL: Language = Language { line: &["#"], block: None, apart: true, quotes: &[quote("\""), literal("'")], ..C };
const YAML: Language = Language { quotes_apart: true, ..SHELL };

fn language(path: &str) -> Option<&'static Language> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match (name, extension) {
        (_, "rs") => Some(&RUST),
        (_, "c" | "h" | "cc" | "cpp" | "cxx" | "hh" | "hpp" | "hxx" | "proto" | "zig") => Some(&C),
        (_, "java" | "kt" | "kts" | "scala" | "swift" | "cs" | "dart") => Some(&JAVA),
        (_, "js" | "mjs" | "cjs" | "jsx" | "ts" | "mts" | "cts" | "tsx") => Some(&SCRIPT),
        (_, "go") => Some(&GO),
        (_, "php") => Some(&PHP),
        (_, "css") => Some(&CSS),
        (_, "sql") => Some(&SQL),
        (_, "lua") => Some(&LUA),
        (_, "py" | "pyi") => Some(&PYTHON),
        (_, "yaml" | "yml") => Some(&YAML),
        (_, "toml") => Some(&TOML),
        (_, "sh" | "bash" | "zsh" | "rb" | "mk")
        | ("Makefile" | "Dockerfile" | "Justfile" | "justfile" | "Rakefile" | "Gemfile", _) => Some(&SHELL),
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Within {
    Code,
    Comment,
}

/// A part of one line that is code or comment.
struct Piece {
    within: Within,
    line: u32,
    start: usize,
    end: usize,
}

impl Piece {
    fn marker(&self, text: &str, at: usize) -> Marker {
        let from = self.start + at;
        // No further than what is kept of it: a line can have a hundred thousand stubs.
        let furthest = text.floor_char_boundary(from + 4 * DETAIL_MAX);
        let end = match self.within {
            Within::Comment => self.end.min(furthest),
            // With the strings in it: what a stub says is the best title it can have.
            Within::Code => text[from..furthest].find('\n').map_or(furthest, |length| from + length),
        };
        Marker { text: clipped(&text[from..end], DETAIL_MAX), line: self.line }
    }
}

enum State {
    Code,
    Line,
    /// How many are open.
    Block(usize),
    Text {
        mark: &'static str,
        /// After the mark, for a raw string of Rust.
        hashes: usize,
        escapes: bool,
        lines: bool,
    },
}

/// Cuts `text` into the pieces that are not strings. Every mark is ASCII, so that each cut is between characters.
fn pieces(language: &Language, text: &str, mut sink: impl FnMut(Piece)) {
    let bytes = text.as_bytes();
    let (mut state, mut at, mut start, mut line) = (State::Code, 0, 0, 1_u32);
    let mut cut = |state: &State, line, start, end| {
        let within = match state {
            State::Code => Within::Code,
            State::Line | State::Block(_) => Within::Comment,
            State::Text { .. } => return,
        };
        if start < end {
            sink(Piece { within, line, start, end });
        }
    };
    while at < bytes.len() {
        if bytes[at] == b'\n' {
            cut(&state, line, start, at);
            if matches!(state, State::Line | State::Text { lines: false, .. }) {
                state = State::Code;
            }
            at += 1;
            start = at;
            line = line.saturating_add(1);
            continue;
        }
        let rest = &bytes[at..];
        match &mut state {
            State::Line => at += 1,
            State::Block(depth) => {
                let (open, close) = language.block.expect("only what has long comments is in one");
                if rest.starts_with(close.as_bytes()) {
                    *depth -= 1;
                    let ended = *depth == 0;
                    if ended {
                        cut(&state, line, start, at);
                        state = State::Code;
                    }
                    at += close.len();
                    if ended {
                        start = at;
                    }
                } else if language.nested && rest.starts_with(open.as_bytes()) {
                    *depth += 1;
                    at += open.len();
                } else {
                    at += 1;
                }
            }
            State::Text { mark, hashes, escapes, .. } => {
                let length = mark.len() + *hashes;
                if *escapes && rest[0] == b'\\' {
                    at += escape(rest);
                } else if closes(rest, mark, *hashes) {
                    state = State::Code;
                    at += length;
                    start = at;
                } else {
                    at += 1;
                }
            }
            State::Code if rest[0] == b'\\' => at += escape(rest),
            State::Code => match opening(language, bytes, at) {
                Opening::None => at += 1,
                Opening::Over(length) => at += length,
                Opening::Of(opened, length) => {
                    cut(&state, line, start, at);
                    state = opened;
                    at += length;
                    start = at;
                }
            },
        }
    }
    cut(&state, line, start, bytes.len());
}

/// A backslash and what follows it, but never the end of the line.
fn escape(rest: &[u8]) -> usize {
    if matches!(rest.get(1), None | Some(b'\n')) { 1 } else { 2 }
}

fn closes(rest: &[u8], mark: &str, hashes: usize) -> bool {
    rest.starts_with(mark.as_bytes())
        && rest[mark.len()..].iter().take(hashes).take_while(|&&byte| byte == b'#').count() == hashes
}

enum Opening {
    None,
    /// Still code, of this length.
    Over(usize),
    Of(State, usize),
}

fn opening(language: &Language, bytes: &[u8], at: usize) -> Opening {
    let rest = &bytes[at..];
    let before = at.checked_sub(1).map(|before| bytes[before]);
    if language.stubs == Stubs::Rust {
        match rest[0] {
            b'\'' => return Opening::Over(character(rest)),
            b'r' if !before.is_some_and(|byte| is_word(byte) && !matches!(byte, b'b' | b'c')) => {
                let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
                if rest.get(1 + hashes) == Some(&b'"') {
                    let raw = State::Text { mark: "\"", hashes, escapes: false, lines: true };
                    return Opening::Of(raw, 2 + hashes);
                }
            }
            _ => {}
        }
    }
    let blank_before = before.is_none_or(|byte| byte.is_ascii_whitespace());
    // The mark of a number's thousands in C, not a quote.
    if rest[0] == b'\'' && before.is_some_and(|byte| byte.is_ascii_digit()) {
        return Opening::None;
    }
    if let Some((open, _)) = language.block
        && rest.starts_with(open.as_bytes())
    {
        return Opening::Of(State::Block(1), open.len());
    }
    let comment = !language.apart || blank_before || before == Some(b';');
    if let Some(open) = language.line.iter().find(|open| comment && rest.starts_with(open.as_bytes())) {
        return Opening::Of(State::Line, open.len());
    }
    let string = !language.quotes_apart || blank_before || before.is_some_and(|byte| b"[{(,:".contains(&byte));
    match language.quotes.iter().find(|quote| string && rest.starts_with(quote.mark.as_bytes())) {
        Some(&Quote { mark, escapes, lines }) => {
            Opening::Of(State::Text { mark, hashes: 0, escapes, lines }, mark.len())
        }
        None => Opening::None,
    }
}

/// The length of a character literal of Rust; 1 for the tick of a lifetime.
fn character(rest: &[u8]) -> usize {
    // The longest is '\u{10ffff}'.
    let window = &rest[..rest.len().min(12)];
    let closing = match window {
        [_, b'\\', _, after @ ..] => after.iter().position(|&byte| byte == b'\'').map(|length| length + 4),
        [_, first, after @ ..] if *first != b'\'' => {
            // A character has one to four bytes.
            let length = 1 + after.iter().take_while(|&&byte| byte & 0xc0 == 0x80).count();
            (window.get(1 + length) == Some(&b'\'')).then_some(length + 2)
        }
        _ => None,
    };
    closing.filter(|&length| !window[..length].contains(&b'\n')).unwrap_or(1)
}

/// Where a comment says that something is to be done.
fn note(comment: &str) -> Option<usize> {
    let begins = comment.len() - comment.trim_start_matches(|c: char| c.is_whitespace() || "/*!#-;".contains(c)).len();
    let anywhere = ["TODO", "FIXME"].into_iter().filter_map(|word| {
        let spoken_of = |at: usize| comment[..at].ends_with('`') && comment[at + word.len()..].starts_with('`');
        words(comment, word).find(|&at| !spoken_of(at))
    });
    let first = words(&comment[begins..], "XXX").next().filter(|&at| at == 0).map(|_| begins);
    anywhere.chain(first).min()
}

/// Where code says that it is not written yet.
fn stubs(stubs: Stubs, code: &str) -> impl Iterator<Item = usize> {
    let calls = move |word: &'static str| {
        words(code, word).filter(move |at| {
            let after = code[at + word.len()..].strip_prefix('!').map(str::trim_start);
            stubs == Stubs::Rust && after.is_some_and(|after| after.starts_with(['(', '[', '{']))
        })
    };
    let raises = words(code, "raise").filter(move |at| {
        let after = code[at + "raise".len()..].trim_start().strip_prefix("NotImplementedError");
        stubs == Stubs::Python && after.is_some_and(|after| !after.starts_with(continues))
    });
    calls("todo").chain(calls("unimplemented")).chain(raises)
}

/// Where `word` stands as a whole word.
fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(continues) && !after.is_some_and(continues)
    })
}

/// Whether a word goes on with this character.
fn continues(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}
