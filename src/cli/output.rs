//! How facts are printed: aligned lines for people, one JSON value for programs.
//!
//! Owns: the two forms. Must be true: a reader that goes away (`| head`) ends the output without a word.
//! Fails: with the system's error of stdout.

use super::error::CliError;
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Prints the value as one line of JSON.
pub fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|error| CliError::io("cannot write JSON")(error.into()))?;
    text_line(&text)
}

/// Prints a text and a line end.
pub fn text_line(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(CliError::output("stdout")),
    }
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
    if json { say(&serde_json::json!({ "message_type": "note", "message": text }).to_string()) } else { say(&format!("note: {text}")) }
}

/// Prints lines of name and value, the values below each other.
pub fn table(rows: &[(&str, String)]) -> Result<(), CliError> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
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
    fn bytes_are_short_for_people() {
        let shown = [0, 1023, 1024, 1536, 4 << 20, u64::MAX].map(human);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "4.0 MiB", "16.0 EiB"]);
    }
}
