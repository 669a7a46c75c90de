//! The relative links of a Markdown file.
//!
//! Parsed as CommonMark with tables, footnotes, task lists and front matter, so that what stands in code is no link.
//! Inline links, images and used references count; links in raw HTML do not. A target is relative unless it has a scheme
//! (`https:`), begins with a slash (where that leads is known to whoever serves the file), is a mere `#fragment`, or is a
//! name in a program (`a::b`), as in Markdown that becomes Rust documentation.

use alloc::string::String;
use alloc::vec::Vec;

use pulldown_cmark::{Event, LinkType, Options, Parser, Tag};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// A path from the directory of the file, decoded, without fragment and query.
    pub target: String,
    /// Where the link begins, from 1.
    pub line: u32,
}

pub fn is_markdown(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(name.rsplit_once('.'), Some((_, "md" | "markdown" | "MD")))
}

/// In the order in which they stand.
pub fn links(markdown: &str) -> Vec<Link> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS;
    let mut lines = Lines { text: markdown, at: 0, line: 1 };
    Parser::new_ext(markdown, options)
        .into_offset_iter()
        .filter_map(|(event, span)| match event {
            Event::Start(Tag::Link { link_type, dest_url, .. } | Tag::Image { link_type, dest_url, .. })
                if link_type != LinkType::Email =>
            {
                let target = relative(&dest_url)?;
                Some(Link { target, line: lines.line_of(span.start) })
            }
            _ => None,
        })
        .collect()
}

/// Counts lines once, as long as it is asked for places that come one after the other.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl Lines<'_> {
    fn line_of(&mut self, place: usize) -> u32 {
        if let Some(passed) = self.text.get(self.at..place) {
            let breaks = passed.matches('\n').count();
            self.line = self.line.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
            self.at = place;
        }
        self.line
    }
}

fn relative(destination: &str) -> Option<String> {
    let destination = destination.trim();
    let path = destination.find(['#', '?']).map_or(destination, |end| &destination[..end]);
    let named = path.contains("::") || path.contains('`');
    if path.is_empty() || path.starts_with('/') || named || has_scheme(path) { None } else { Some(decoded(path)) }
}

/// RFC 3986: a letter, then letters, digits and `+ - .`, up to a colon.
fn has_scheme(path: &str) -> bool {
    path.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        match (byte, after) {
            (b'%', [high, low, after @ ..])
                if let (Some(high), Some(low)) = (hexadecimal(*high), hexadecimal(*low)) =>
            {
                bytes.push(high << 4 | low);
                rest = after;
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
