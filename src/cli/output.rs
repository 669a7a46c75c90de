//! What comes out: tables for people, JSON for programs, and no panic when nobody reads on.

use std::io::{self, ErrorKind, Write};

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use super::exit::Failure;

/// How answers are written. Not documented one by one, or clap would stretch every help text over three screens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
}

/// Writes to standard output. A reader that has gone is no error: it has what it wanted.
pub fn print(text: &str) -> Result<(), Failure> {
    match write(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let detail = format!("the output could not be written: {error}");
            Err(Failure::new(
                "cli.output",
                detail,
                "see where standard output leads; the command itself was carried out",
            ))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The same, for who needs to know that nobody reads on.
pub fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes to standard error, where there is nobody left to tell if it fails.
pub fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// An answer in the form that was asked for; `table` has no newline at its end.
pub fn answer(format: Format, answer: &Value, table: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
    let text = match format {
        Format::Table => table(answer),
        Format::Json => json(answer),
    };
    print(&format!("{text}\n"))
}

pub fn json(value: &Value) -> String {
    // Maps with text keys can always be written.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// `warning[code]: sentence`.
pub fn problem_line(kind: &str, code: &str, sentence: &str) -> String {
    format!("{kind}[{code}]: {}", plain(sentence))
}

/// One line without control characters: what others wrote must not drive the reader's terminal.
pub fn plain(text: &str) -> String {
    text.trim_end().chars().map(|c| if c.is_control() || is_bidi(c) { shown(c) } else { c }).collect()
}

/// The same for a text of several lines.
pub fn plain_lines(text: &str) -> String {
    text.lines().map(|line| plain(&line.replace('\t', "    "))).collect::<Vec<_>>().join("\n")
}

fn shown(c: char) -> char {
    if matches!(c, '\n' | '\r' | '\t') { ' ' } else { '\u{fffd}' }
}

/// Characters that make what follows read from right to left, and so look like something else.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// A value as a cell: text without quotes, a list with commas, nothing as a dash.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => plain(text),
        Value::Number(number) => number.to_string(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        // A text about somebody that does not open any more.
        Value::Object(fields)
            if fields.len() == 2 && fields.contains_key("subject") && fields.contains_key("state") =>
        {
            format!("({})", cell(&fields["state"]))
        }
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{}={}", plain(name), cell(value));
            fields.iter().map(field).collect::<Vec<_>>().join(" ")
        }
    }
}

/// Rows below headings, without borders; columns of numbers are flush right.
pub fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    let number = |cell: &String| cell == "-" || cell.parse::<u64>().is_ok();
    let numbers: Vec<bool> = (0..N)
        .map(|column| rows.iter().any(|row| row[column] != "-") && rows.iter().all(|row| number(&row[column])))
        .collect();
    let mut table = bare();
    table.set_header(headings.to_vec());
    table.add_rows(rows.iter().map(|row| row.to_vec()));
    for (column, numeric) in table.column_iter_mut().zip(numbers) {
        column.set_padding((0, 2));
        if numeric {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// Names and values, aligned.
pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = bare();
    table.add_rows(fields.into_iter().map(|(name, value)| [name.to_owned(), value]));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// One thing, or several of them: `1 gap`, `3 gaps`.
pub fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Bytes in the unit that reads best.
pub fn bytes(number: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, size)| *size <= number) {
        // Whole tenths, rounded down: free space must not look larger than it is.
        Some((unit, size)) => format!("{}.{} {unit}", number / size, number % size * 10 / size),
        None => format!("{number} B"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_aligned_and_has_no_trailing_blanks() {
        let rows = [["1", "a"], ["10", "långt ord"], ["-", "日本"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(["NO", "WORD"], rows), "NO  WORD\n 1  a\n10  långt ord\n -  日本");
        assert_eq!(table(["NO", "WORD"], []), "NO  WORD");
        assert_eq!(fields([("state", "ready".to_owned()), ("head", "7".to_owned())]), "state  ready\nhead   7");
    }

    #[test]
    fn what_others_wrote_cannot_drive_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{202e}d\n"), "a\u{fffd}[2Jb c\u{fffd}d");
        assert_eq!(plain_lines("a\n\tb\u{7}\n"), "a\n    b\u{fffd}");
    }

    #[test]
    fn cells_are_words() {
        for (value, text) in [
            (json!(null), "-"),
            (json!(""), "-"),
            (json!([]), "-"),
            (json!({}), "-"),
            (json!(true), "yes"),
            (json!(["a", 1]), "a, 1"),
            (json!({ "by": "x", "todo": 3 }), "by=x todo=3"),
        ] {
            assert_eq!(cell(&value), text);
        }
    }

    #[test]
    fn sizes_are_rounded_down() {
        for (number, text) in
            [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (2_047, "1.9 KiB"), (5 << 30, "5.0 GiB")]
        {
            assert_eq!(bytes(number), text);
        }
    }
}
