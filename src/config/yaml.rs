//! YAML as a tree whose every part knows its place.
//!
//! Owns: the tree, made of the events of `saphyr-parser`. Must be true: a key stands once in its section; one document; no
//! tags, anchors or aliases, which a configuration does not need and which hide where a value comes from; at most
//! [`DEPTH_MAX`] levels. Fails: with one [`Mistake`], at the first thing that is not such YAML.

use super::mistake::{Mistake, Place, Source};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

/// Levels of nesting; the deepest key has three.
const DEPTH_MAX: usize = 16;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub place: Place,
    pub kind: NodeKind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// Nothing was written, or `~`, or `null`.
    Nothing,
    Scalar {
        text: String,
        quoted: bool,
    },
    List,
    /// Keys in the order of the file.
    Section(Vec<(Key, Node)>),
}

/// A key and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub name: String,
    pub place: Place,
}

struct Reader<'a> {
    source: &'a Source,
    parser: Parser<'a, StrInput<'a>>,
}

/// Reads a text. `None`: it is empty, or only comments.
pub fn read(source: &Source) -> Result<Option<Node>, Box<Mistake>> {
    let mut reader = Reader { source, parser: Parser::new_from_str(&source.text) };
    let mut root = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(root),
            Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
            Event::DocumentStart(_) if root.is_some() => {
                return Err(reader.refuse(span, "a second document begins here", "keep one document in the file"));
            }
            Event::DocumentStart(_) => {}
            event => root = Some(reader.node(event, span, 0)?),
        }
    }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Box<Mistake>> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let marker = *error.marker();
                let found = format!("this is not YAML: {}", error.info());
                Err(self.refuse_at(self.clip(marker.line(), marker.col() + 1, 1), found, None))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Box<Mistake>> {
        if depth > DEPTH_MAX {
            return Err(self.refuse(span, "this is nested too deeply", "no key has more than three levels"));
        }
        let place = self.place(span);
        let plain = |anchor: usize, tagged: bool| anchor == 0 && !tagged;
        let kind = match event {
            Event::Scalar(text, style, anchor, tag) if plain(anchor, tag.is_some()) => {
                let quoted = style != ScalarStyle::Plain;
                match text.as_ref() {
                    "" | "~" | "null" if !quoted => NodeKind::Nothing,
                    text => NodeKind::Scalar { text: text.into(), quoted },
                }
            }
            Event::SequenceStart(anchor, tag) if plain(anchor, tag.is_some()) => self.list(depth)?,
            Event::MappingStart(anchor, tag) if plain(anchor, tag.is_some()) => self.section(depth)?,
            _ => return Err(self.refuse(span, "tags, anchors and aliases have no place here", "write the value itself")),
        };
        Ok(Node { place, kind })
    }

    fn list(&mut self, depth: usize) -> Result<NodeKind, Box<Mistake>> {
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(NodeKind::List),
                (event, span) => self.node(event, span, depth + 1)?,
            };
        }
    }

    fn section(&mut self, depth: usize) -> Result<NodeKind, Box<Mistake>> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(NodeKind::Section(entries));
            }
            let node = self.node(event, span, depth + 1)?;
            let NodeKind::Scalar { text: name, .. } = node.kind else {
                return Err(self.refuse(span, "a key must be a word", "for example memory:"));
            };
            if let Some((first, _)) = entries.iter().find(|(key, _)| key.name == name) {
                let help = format!("it stands on line {} already; keep one of the two", first.place.line);
                return Err(self.refuse(span, &format!("the key `{name}` is repeated"), &help));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            entries.push((Key { name, place: node.place }, value));
        }
    }

    fn place(&self, span: Span) -> Place {
        self.clip(span.start.line(), span.start.col() + 1, if span.start.line() == span.end.line() { span.len() } else { 1 })
    }

    /// The parser names some errors one line after the last; people look at the last.
    fn clip(&self, line: usize, column: usize, width: usize) -> Place {
        let lines = self.source.text.lines().count().max(1);
        if line > lines {
            let last = self.source.text.lines().last().unwrap_or("");
            return Place { line: lines, column: last.chars().count().max(1), width: 1 };
        }
        Place { line: line.max(1), column: column.max(1), width: width.max(1) }
    }

    fn refuse(&self, span: Span, found: &str, help: &str) -> Box<Mistake> {
        self.refuse_at(self.place(span), found.into(), Some(help.into()))
    }

    fn refuse_at(&self, place: Place, found: String, help: Option<String>) -> Box<Mistake> {
        Box::new(Mistake { source: self.source.clone(), place, found, allowed: None, help })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_and_values_know_their_places() {
        let root = read(&Source::new("t", "# c\na:\n  b: { c: 12 }\n")).unwrap().unwrap();
        let NodeKind::Section(top) = root.kind else { panic!("a section") };
        assert_eq!((top[0].0.name.as_str(), top[0].0.place), ("a", Place { line: 2, column: 1, width: 1 }));
        let NodeKind::Section(middle) = &top[0].1.kind else { panic!("a section") };
        let NodeKind::Section(inner) = &middle[0].1.kind else { panic!("a section") };
        assert_eq!(inner[0].1.place, Place { line: 3, column: 11, width: 2 });
    }

    #[test]
    fn an_empty_text_is_nothing() {
        for text in ["", "\n\n", "# only a comment\n"] {
            assert_eq!(read(&Source::new("t", text)), Ok(None), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-c:\\-{}\\[\\]&*!#'\"| \\n\\t%>?,1]{0,60}") {
            if let Err(mistake) = read(&Source::new("t", &text)) {
                prop_assert!(!mistake.to_string().is_empty());
            }
        }
    }
}
