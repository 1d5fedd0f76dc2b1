//! A mistake in a configuration: where, what was found, what is allowed, what was perhaps meant.
//!
//! Owns: the places and how a mistake is printed. Must be true: lines and columns count from 1, columns in characters, and the
//! caret stands below the character that the column names. Fails: never; a place outside the text is shown without its line.

use std::fmt;
use std::sync::Arc;

/// A text that settings came from, and its name: a path, `--set`, or a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub name: Arc<str>,
    pub text: Arc<str>,
}

impl Source {
    /// A source of this name and text.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

/// A run of characters on one line of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Characters, at least 1.
    pub width: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub source: Source,
    pub place: Place,
    /// What was found, in one line.
    pub found: String,
    /// What is allowed there, if that can be said.
    pub allowed: Option<String>,
    /// What was perhaps meant, or what to do.
    pub help: Option<String>,
}

impl Mistake {
    /// The line of the source that the mistake is on.
    #[must_use]
    pub fn source_line(&self) -> Option<&str> {
        self.source.text.lines().nth(self.place.line.checked_sub(1)?)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column, width } = self.place;
        writeln!(f, "{}", self.found)?;
        write!(f, "  --> {}:{line}:{column}", self.source.name)?;
        let margin = " ".repeat(line.to_string().len());
        if let Some(text) = self.source_line() {
            // A tab stays a tab in the indentation, so that the caret stands below its character.
            let before: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let room = text.chars().count().saturating_sub(column - 1).max(1);
            write!(f, "\n {margin} |\n {line} | {text}\n {margin} | {before}{}", "^".repeat(width.clamp(1, room)))?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "\n {margin} = allowed: {allowed}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n {margin} = help: {help}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_what_is_meant() {
        let mistake = Mistake {
            source: Source::new("a.yaml", "memory:\n  bugdet: 1GiB\n"),
            place: Place { line: 2, column: 3, width: 6 },
            found: "unknown key `bugdet`".into(),
            allowed: None,
            help: Some("did you mean `budget`?".into()),
        };
        let expected =
            "unknown key `bugdet`\n  --> a.yaml:2:3\n   |\n 2 |   bugdet: 1GiB\n   |   ^^^^^^\n   = help: did you mean `budget`?";
        assert_eq!(mistake.to_string(), expected);
    }

    #[test]
    fn a_place_beyond_the_text_is_still_named() {
        let mistake = Mistake {
            source: Source::new("a.yaml", ""),
            place: Place { line: 9, column: 1, width: 1 },
            found: "the end came too early".into(),
            allowed: None,
            help: None,
        };
        assert_eq!(mistake.to_string(), "the end came too early\n  --> a.yaml:9:1");
    }
}
