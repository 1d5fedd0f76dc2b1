//! How facts are printed: aligned lines for people, one JSON value for programs.
//!
//! Owns: the two forms. Must be true: a reader that goes away (`| head`) ends the output without a word.
//! Fails: with the system's error of stdout.

use super::error::CliError;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{ErrorKind, Write};

/// Prints the value as one line of JSON.
pub fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|error| CliError::io("cannot write JSON")(error.into()))?;
    line(&text)
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

fn line(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
    written.or_else(unless_left).map_err(CliError::output("stdout"))
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
pub fn note(text: &str, json: bool) {
    if json {
        say(&serde_json::json!({ "message_type": "note", "message": text }).to_string())
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
}
