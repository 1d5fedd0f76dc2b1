//! How facts are printed: aligned lines for people, JSON objects for programs, one a line.
//!
//! Owns: the two forms; every JSON object that a verb prints passes through here, and so is a `message` (JSN-1). Must be true: a reader that
//! goes away (`| head`) ends the output without a word.
//! Fails: with the system's error of stdout.

use super::Context;
use super::error::CliError;
use crate::message;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{ErrorKind, Write};

/// Prints the value as a message of this kind: one line of JSON.
pub fn json(kind: &str, value: &impl Serialize) -> Result<(), CliError> {
    line(&json_text(kind, value)?)
}

/// The same as a text.
pub fn json_text(kind: &str, value: &impl Serialize) -> Result<String, CliError> {
    let message = message::of(kind, value).map_err(|error| CliError::io("cannot write JSON")(error.into()))?;
    Ok(message.to_string())
}

/// Says a message of this kind on stderr, where facts do not go.
pub fn say_json(kind: &str, value: &impl Serialize) {
    if let Ok(message) = message::of(kind, value) {
        say(&message.to_string());
    }
}

/// Prints a text and a line end.
pub fn text_line(text: &str) -> Result<(), CliError> {
    line(&plain(text))
}

/// A text as a terminal may have it: what would be a command to it, in the name of a file for example, is written as `\x1b`. Line ends
/// and tabs stay.
pub fn plain(text: &str) -> Cow<'_, str> {
    let is_command = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_command) {
        return text.into();
    }
    let shown = text.chars().map(|c| if is_command(c) { format!("\\x{:02x}", u32::from(c)) } else { c.to_string() });
    shown.collect::<String>().into()
}

/// Prints a text that another program reads as it is.
pub fn raw(text: &str) -> Result<(), CliError> {
    line(text)
}

/// Says that something is done, to whoever wants to hear it.
pub fn done(text: &str, context: &Context) -> Result<(), CliError> {
    if context.quiet { Ok(()) } else { text_line(text) }
}

fn line(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
    written.or_else(unless_left).map_err(CliError::output("stdout"))
}

/// Prints a line; false if its reader has gone away.
pub fn still_read(text: &str) -> Result<bool, CliError> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", plain(text)).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::output("stdout")(error)),
    }
}

/// An error of a stream, unless its reader has gone away.
pub fn unless_left(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// Prints a line on stderr. Nobody is harmed when that cannot be written: a log on a full disk, a terminal that is gone.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Stderr for messages, which never fails: who has something to say may hold what others wait for.
pub struct Messages;

impl Write for Messages {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        let _ = std::io::stderr().lock().write_all(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Says something on stderr that is worth knowing and no error.
pub fn note(text: &str, context: &Context) {
    if context.quiet {
        return;
    }
    if context.json {
        say_json("note", &serde_json::json!({ "message": text }));
    } else {
        say(&plain(&format!("note: {text}")))
    }
}

/// Prints lines of name and value, the values below each other.
pub fn table(rows: &[(&str, String)]) -> Result<(), CliError> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<width$}  {}", value.replace('\n', "\\n"))).collect();
    text_line(&lines.join("\n"))
}

/// Prints lines of values below a head, in columns; numbers are not told from text.
pub fn columns(head: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let lines: Vec<&Vec<String>> = [&head].into_iter().chain(rows).collect();
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", cell.replace('\n', "\\n"))).collect();
        cells.join("  ").trim_end().to_string()
    };
    text_line(&lines.into_iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// A time for people.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Bytes for people: three digits and a binary unit.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let step = (bytes.max(1).ilog2() / 10) as usize;
    let unit = UNITS.get(step).copied().unwrap_or("B");
    if step == 0 { format!("{bytes} B") } else { format!("{:.1} {unit}", bytes as f64 / (1u64 << (10 * step)) as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_command_to_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\u{9b}c\rd\te\nf\x7f"), "a\\x1b[2Jb\\x9bc\\x0dd\te\nf\\x7f");
        assert!(matches!(plain("Fotos-\u{e4}"), Cow::Borrowed(_)));
    }

    #[test]
    fn bytes_are_short_for_people() {
        let shown = [0, 1023, 1024, 1536, 4 << 20, u64::MAX].map(human);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "4.0 MiB", "16.0 EiB"]);
    }

    #[test]
    fn times_are_short_for_people() {
        assert_eq!([0, 59, 60, 3725, 90_000].map(span), ["0 s", "59 s", "1 min", "1 h 2 min", "1 d 1 h"]);
    }
}
