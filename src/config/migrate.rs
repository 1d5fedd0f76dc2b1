//! From a file of settings of an earlier version to one of the newest, with its comments.
//!
//! Owns: the steps. Must be true: MIG-1 the text changes only where a step says so: comments, order, blanks and ends of lines stay;
//! MIG-2 what comes out is read without a mistake, or nothing comes out; MIG-3 a file of a later version is refused. Fails: with [`Stuck`].
//!
//! Version 0 is a file that says no version. All its keys mean what they mean in version 1.

use super::layers::Layers;
use super::mistake::{Mistake, Place, Source};
use super::yaml::{self, Key, Node, NodeKind};

/// The newest version, which this program writes.
pub const NEWEST: u32 = 1;

/// What changed from one version to the next.
pub struct Step {
    pub to: u32,
    pub edits: &'static [Edit],
}

/// One change.
pub enum Edit {
    /// A key, or a section, is called otherwise, in its section.
    Rename { path: &'static str, name: &'static str },
    /// A value of a key is written otherwise.
    Value { path: &'static str, from: &'static str, to: &'static str },
    /// A key is gone: its lines become comments.
    Drop { path: &'static str, why: &'static str },
}

/// All steps, in order.
pub const STEPS: &[Step] = &[Step { to: 1, edits: &[] }];

/// A file of the newest version.
#[derive(Debug, PartialEq, Eq)]
pub struct Migrated {
    pub from: u32,
    pub to: u32,
    pub text: String,
}

/// Why a file stays as it is.
#[derive(Debug)]
pub enum Stuck {
    /// It was written for a later program.
    Newer { version: u64 },
    /// It has mistakes, or what comes of it has.
    Mistakes(Vec<Mistake>),
}

impl From<Box<Mistake>> for Stuck {
    fn from(mistake: Box<Mistake>) -> Self {
        Self::Mistakes(vec![*mistake])
    }
}

/// Brings a text to the newest version.
///
/// # Errors
/// See [`Stuck`].
pub fn migrate(source: &Source) -> Result<Migrated, Stuck> {
    let migrated = by(STEPS, source)?;
    let mut layers = Layers::default();
    layers.yaml(&Source::new(&source.name, &migrated.text));
    layers.finish().map(|_| migrated).map_err(Stuck::Mistakes)
}

/// The same by any steps; what comes out is not checked.
fn by(steps: &[Step], source: &Source) -> Result<Migrated, Stuck> {
    let newest = steps.last().map_or(NEWEST, |step| step.to);
    let from = version(source, newest)?;
    let mut text = source.text.to_string();
    for step in steps.iter().filter(|step| step.to > from) {
        for edit in step.edits {
            text = edit.apply(&Source::new(&source.name, &text))?;
        }
        text = with_version(&Source::new(&source.name, &text), step.to)?;
    }
    Ok(Migrated { from, to: newest, text })
}

fn version(source: &Source, newest: u32) -> Result<u32, Stuck> {
    let root = yaml::read(source)?;
    let Some((_, value)) = root.as_ref().and_then(|root| find(root, "version")) else { return Ok(0) };
    let NodeKind::Scalar { text, quoted: false } = &value.kind else { return Err(no_version(source, value)) };
    match text.parse::<u64>() {
        Ok(version) if version > u64::from(newest) => Err(Stuck::Newer { version }),
        Ok(version) if version > 0 => u32::try_from(version).map_err(|_| no_version(source, value)),
        _ => Err(no_version(source, value)),
    }
}

fn no_version(source: &Source, value: &Node) -> Stuck {
    let (source, place, allowed) = (source.clone(), value.place, Some(format!("1..{NEWEST}")));
    Stuck::Mistakes(vec![Mistake { source, place, found: "this is no version".into(), allowed, help: None }])
}

fn find<'a>(root: &'a Node, path: &str) -> Option<(&'a Key, &'a Node)> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let NodeKind::Section(entries) = &root.kind else { return None };
    let (key, value) = entries.iter().find(|(key, _)| key.name == name)?;
    rest.map_or(Some((key, value)), |rest| find(value, rest))
}

/// The last line that a value takes.
fn last_line(node: &Node) -> usize {
    match &node.kind {
        NodeKind::Section(entries) => entries.iter().map(|(_, value)| last_line(value)).max().unwrap_or(0).max(node.place.line),
        _ => node.place.line,
    }
}

impl Edit {
    fn apply(&self, source: &Source) -> Result<String, Stuck> {
        let Some(root) = yaml::read(source)? else { return Ok(source.text.to_string()) };
        Ok(match self {
            Self::Rename { path, name } => match find(&root, path) {
                Some((key, _)) => replaced(&source.text, key.place, name),
                None => source.text.to_string(),
            },
            Self::Value { path, from, to } => match find(&root, path) {
                Some((_, value)) if matches!(&value.kind, NodeKind::Scalar { text, .. } if text == from) => {
                    replaced(&source.text, value.place, to)
                }
                _ => source.text.to_string(),
            },
            Self::Drop { path, why } => match find(&root, path) {
                Some((key, value)) => dropped(source, key, value, why)?,
                None => source.text.to_string(),
            },
        })
    }
}

/// The text with other characters at a place.
fn replaced(text: &str, place: Place, by: &str) -> String {
    edited(text, |number, line| {
        if number != place.line {
            return line.to_string();
        }
        let before: String = line.chars().take(place.column - 1).collect();
        let after: String = line.chars().skip(place.column - 1 + place.width).collect();
        format!("{before}{by}{after}")
    })
}

fn dropped(source: &Source, key: &Key, value: &Node, why: &str) -> Result<String, Stuck> {
    let (first, last) = (key.place.line, last_line(value));
    let line = source.text.lines().nth(first - 1).unwrap_or("");
    let is_alone = line.chars().take(key.place.column - 1).all(char::is_whitespace);
    let is_flow = line.trim_end().ends_with(['}', ',']) && first == last && !line.contains(": {");
    if !is_alone || is_flow {
        let found = format!("`{}` is no setting any more: {why}", key.name);
        let help = Some("take it out".into());
        return Err(Stuck::Mistakes(vec![Mistake { source: source.clone(), place: key.place, found, allowed: None, help }]));
    }
    let blanks: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    Ok(edited(&source.text, |number, line| match number {
        number if number == first => format!("{blanks}# No setting any more: {why}\n{blanks}# {}", line.trim_start()),
        number if number > first && number <= last => format!("{blanks}# {}", line.trim_start()),
        _ => line.to_string(),
    }))
}

fn with_version(source: &Source, version: u32) -> Result<String, Stuck> {
    let root = yaml::read(source)?;
    if let Some((_, value)) = root.as_ref().and_then(|root| find(root, "version")) {
        return Ok(replaced(&source.text, value.place, &version.to_string()));
    }
    // Above the first key, below the comments that stand above it.
    let Some(root) = root else { return Ok(with_last_line(&source.text, &format!("version: {version}"))) };
    if source.text.lines().nth(root.place.line - 1).is_some_and(|line| line.trim_start().starts_with('{')) {
        return Ok(replaced(&source.text, Place { width: 1, ..root.place }, &format!("{{ version: {version}, ")));
    }
    Ok(edited(
        &source.text,
        |number, line| if number == root.place.line { format!("version: {version}\n{line}") } else { line.to_string() },
    ))
}

fn with_last_line(text: &str, line: &str) -> String {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let between = if text.is_empty() || text.ends_with('\n') { "" } else { end };
    format!("{text}{between}{line}{end}")
}

/// The text, line by line. Each keeps its end, and lines that are put there have the end of the line that they stand for.
fn edited(text: &str, line: impl Fn(usize, &str) -> String) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for (number, whole) in text.split_inclusive('\n').enumerate() {
        let content = whole.strip_suffix('\n').map_or(whole, |content| content.strip_suffix('\r').unwrap_or(content));
        let end = whole.get(content.len()..).unwrap_or("");
        let inner = if end.is_empty() { "\n" } else { end };
        out += &line(number + 1, content).replace('\n', inner);
        out += end;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS_OF_A_TEST: &[Step] = &[
        Step { to: 1, edits: &[] },
        Step {
            to: 2,
            edits: &[
                Edit::Rename { path: "memory", name: "space" },
                Edit::Rename { path: "space.budget", name: "limit" },
                Edit::Value { path: "compression", from: "off", to: "never" },
                Edit::Drop { path: "cache.l3", why: "two tiers are enough" },
            ],
        },
        Step { to: 3, edits: &[Edit::Drop { path: "gone", why: "nobody used it" }] },
    ];

    fn moved(text: &str) -> String {
        by(STEPS_OF_A_TEST, &Source::new("t", text)).expect("migrated").text
    }

    #[test]
    fn names_values_and_keys_that_are_gone_change_and_comments_stay() {
        let text = "# mine\nversion: 1   # the first\n\nmemory:  # much\n  budget: 1GiB # enough\ncompression: off # fast\n\
                    cache:\n  # three\n  l3: 5%\n  l1: 30%\ngone:\n  a: 1\n  b: 2\n# the end\n";
        let expected = "# mine\nversion: 3   # the first\n\nspace:  # much\n  limit: 1GiB # enough\ncompression: never # fast\n\
                        cache:\n  # three\n  # No setting any more: two tiers are enough\n  # l3: 5%\n  l1: 30%\n\
                        # No setting any more: nobody used it\n# gone:\n# a: 1\n# b: 2\n# the end\n";
        assert_eq!(moved(text), expected);
    }

    /// Meant to fail when lines were put together again with LF: one key changed every line of a file from Windows.
    #[test]
    fn lines_keep_their_ends() {
        let text = "# mine\r\nversion: 1\r\nmemory:\n  budget: 1GiB\r\ncache:\r\n  l3: 5%\r\n  l1: 30%";
        let expected = "# mine\r\nversion: 3\r\nspace:\n  limit: 1GiB\r\ncache:\r\n  # No setting any more: two tiers are enough\r\n\
                        \x20 # l3: 5%\r\n  l1: 30%";
        assert_eq!(moved(text), expected);
        for (text, expected) in [
            ("# c\r\nlimit: none\r\n", "# c\r\nversion: 1\r\nlimit: none\r\n"),
            ("# only\r\n# comments", "# only\r\n# comments\r\nversion: 1\r\n"),
        ] {
            assert_eq!(migrate(&Source::new("t", text)).expect(text).text, expected);
        }
    }

    #[test]
    fn a_file_without_a_version_gets_one_below_the_comments_above_its_first_key() {
        for (text, expected) in [
            ("# c\n\nlimit: none\n", "# c\n\nversion: 1\nlimit: none\n"),
            ("", "version: 1\n"),
            ("# only\n", "# only\nversion: 1\n"),
            ("{ limit: none }", "{ version: 1,  limit: none }"),
        ] {
            let migrated = migrate(&Source::new("t", text)).expect(text);
            assert_eq!((migrated.from, migrated.to, migrated.text.as_str()), (0, 1, expected));
            let again = migrate(&Source::new("t", &migrated.text)).expect(text);
            assert_eq!((again.from, again.text), (1, migrated.text));
        }
    }

    #[test]
    fn later_versions_mistakes_and_what_cannot_be_taken_out_are_refused() {
        let stuck = |text: &str| by(STEPS_OF_A_TEST, &Source::new("t", text)).expect_err(text);
        assert!(matches!(stuck("version: 4\n"), Stuck::Newer { version: 4 }));
        for text in ["version: x\n", "version: [1]\n", "version: 0\n", "version: \"1\"\n", "a: [\n", "cache: { l3: 5%, l1: 30% }\n"] {
            assert!(matches!(stuck(text), Stuck::Mistakes(mistakes) if mistakes.len() == 1), "{text}");
        }
        assert!(matches!(migrate(&Source::new("t", "memroy: {}\n")), Err(Stuck::Mistakes(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(version: [0-9]\\n)?[a-c:{}#\" \\n,1]{0,40}", memory in "(memory:\\n  budget: 1GiB\\n|cache: \\{l3: 1\\}\\n)?") {
            let _ = by(STEPS_OF_A_TEST, &Source::new("t", &format!("{text}{memory}")));
        }
    }
}
