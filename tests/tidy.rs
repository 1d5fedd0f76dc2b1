//! Style as a test: what STYLE and DESIGN say about files is checked on every file, so that it cannot rot.
//!
//! Each rule is a function from a file to its offences. Exceptions carry a reason and may only shrink: one that is not needed
//! any more is an offence too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file at most, tests not counted.
const FILE_MAX_LINES: usize = 500;

/// (rule, file, reason): offences that are allowed.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Words that name nothing, and what to write instead.
const BANNED_NAMES: &[(&str, &str)] = &[
    ("Manager", "name what it keeps: Pool, Registry, Keeper"),
    ("Handler", "name the role: Reader, Door, or the verb"),
    ("Engine", "name the part: Vat, Wal, Cache"),
    ("Util", "put it beside its only user, or name the thing"),
];

/// Texts that must not stand in code.
const BANNED_CALLS: &[(&str, &str)] = &[("todo!(", "return an error"), ("unimplemented!(", "return an error"), ("dbg!(", "use tracing")];

/// One source file.
struct File {
    /// Below the workspace, with `/`.
    path: String,
    text: String,
}

/// The part of a line that is code: comments and texts are blanked.
fn code(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => drop(chars.next()),
            '\'' if !quoted && chars.peek() == Some(&'"') => drop(chars.next()),
            '"' => quoted = !quoted,
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            c if !quoted => out.push(c),
            _ => {}
        }
    }
    out
}

impl File {
    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or("");
        ["tests/", "benches/", "fuzz/"].iter().any(|dir| self.path.starts_with(dir) || self.path.contains(&format!("/{dir}")))
            || name == "tests.rs"
            || name.ends_with("_tests.rs")
    }

    /// The lines before the test module.
    fn production(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        let end = if self.is_test() { 0 } else { self.test_module() };
        self.text.lines().enumerate().take(end).map(|(n, l)| (n + 1, code(l)))
    }

    /// The lines of tests.
    fn tests(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        let start = if self.is_test() { 0 } else { self.test_module() };
        self.text.lines().enumerate().skip(start).map(|(n, l)| (n + 1, code(l)))
    }

    /// Lines before the test module; all if there is none.
    fn test_module(&self) -> usize {
        self.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test")).count()
    }

    fn layer(&self) -> &str {
        match self.path.split('/').next() {
            Some("storage") => "storage",
            Some("actors") => "actors",
            _ => "infmap",
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            walk(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

fn files() -> Vec<File> {
    let mut paths = Vec::new();
    walk(root(), &mut paths);
    paths.sort();
    let read = |path: PathBuf| File {
        path: path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned(),
        text: fs::read_to_string(&path).expect("readable"),
    };
    paths.into_iter().map(read).collect()
}

/// Fails with all offences of a rule that have no exception, and with exceptions that have no offence.
fn enforce(rule: &str, offences: impl IntoIterator<Item = (String, String)>) {
    let excepted: BTreeSet<&str> = EXCEPTIONS.iter().filter(|(of, _, _)| *of == rule).map(|(_, file, _)| *file).collect();
    let mut used = BTreeSet::new();
    let mut wrong: Vec<String> = Vec::new();
    for (path, what) in offences {
        match excepted.get(path.as_str()) {
            Some(file) => drop(used.insert(*file)),
            None => wrong.push(format!("{path}: {what}")),
        }
    }
    wrong.extend(excepted.difference(&used).map(|file| format!("{file}: the exception from `{rule}` is not needed any more")));
    assert!(wrong.is_empty(), "{rule}:\n{}", wrong.join("\n"));
}

/// Offences of code lines that hold one of these texts, outside of `allowed` files.
fn mentions(files: &[File], layer: &str, texts: &[&str], allowed: &[&str]) -> Vec<(String, String)> {
    let mut offences = Vec::new();
    for file in files.iter().filter(|file| file.layer() == layer && !allowed.iter().any(|prefix| file.path.starts_with(prefix))) {
        for (number, line) in file.production() {
            for text in texts.iter().filter(|text| line.contains(**text)) {
                offences.push((file.path.clone(), format!("line {number} mentions {text}")));
            }
        }
    }
    offences
}

#[test]
fn every_file_says_first_what_it_is_for() {
    enforce("head", files().into_iter().filter(|file| !file.text.starts_with("//! ")).map(|file| (file.path, "begin with //!".into())));
}

#[test]
fn files_stay_small() {
    let long = files().into_iter().map(|file| (file.production().count(), file)).filter(|(lines, _)| *lines > FILE_MAX_LINES);
    enforce("size", long.map(|(lines, file)| (file.path, format!("{lines} lines, at most {FILE_MAX_LINES}"))));
}

#[test]
fn storage_knows_no_threads_clock_environment_or_fuse() {
    let files = files();
    let texts = ["infmap_actors", "fuser", "std::thread", "thread::spawn", "Instant", "SystemTime", "std::env", "env::var", "actix"];
    enforce("storage", mentions(&files, "storage", &texts, &[]));
    enforce("storage files", mentions(&files, "storage", &["std::fs", "fs::File", "rustix::fs"], &["storage/src/device/file"]));
}

#[test]
fn actors_know_no_fuse_and_no_environment() {
    enforce("actors", mentions(&files(), "actors", &["fuser", "std::env", "env::var"], &[]));
}

#[test]
fn fuse_is_known_in_one_folder() {
    enforce("fuse", mentions(&files(), "infmap", &["fuser::", "use fuser"], &["src/fuse"]));
}

#[test]
fn names_say_what_a_thing_is() {
    let mut offences = Vec::new();
    for file in files() {
        for (number, line) in file.production() {
            let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let declared = words.clone().zip(words.skip(1)).filter(|(kind, _)| ["struct", "enum", "trait", "type", "mod"].contains(kind));
            for (_, name) in declared {
                let near =
                    |banned: &str| name.contains(banned) || name == banned.to_lowercase() || name == format!("{}s", banned.to_lowercase());
                for (banned, instead) in BANNED_NAMES.iter().filter(|(banned, _)| near(banned)) {
                    offences.push((file.path.clone(), format!("line {number}: {name} is a {banned}; {instead}")));
                }
            }
        }
    }
    enforce("names", offences);
}

#[test]
fn nothing_is_left_to_do_in_the_code() {
    let mut offences = Vec::new();
    for file in files() {
        for (number, line) in file.production().chain(file.tests()) {
            for (call, instead) in BANNED_CALLS.iter().filter(|(call, _)| line.contains(call)) {
                offences.push((file.path.clone(), format!("line {number}: {call}) {instead}")));
            }
        }
    }
    enforce("calls", offences);
}

#[test]
fn tests_wait_for_messages_and_never_sleep() {
    let mut offences = Vec::new();
    for file in files() {
        // Looking again and again has one home, which gives up.
        let mut sleeps = vec!["thread::sleep", "sleep(Duration"];
        sleeps.extend((file.path != "tests/common/mod.rs").then_some("park_timeout"));
        for (number, line) in file.tests().filter(|(_, line)| sleeps.iter().any(|sleep| line.contains(sleep))) {
            offences.push((file.path.clone(), format!("line {number}: {}", line.trim())));
        }
    }
    enforce("sleep", offences);
}

#[test]
fn advice_names_only_verbs_that_exist() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_infmap")).arg("--help").output().expect("it starts").stdout;
    let help = String::from_utf8(help).expect("UTF-8");
    // In groups, each with a heading of its own, before the options.
    let groups = help.lines().skip_while(|line| *line != "Volume:").take_while(|line| *line != "Options:");
    let listed = groups.filter(|line| line.starts_with("  ")).filter_map(|line| line.split_whitespace().next());
    let verbs: BTreeSet<&str> = listed.chain(["VERB"]).collect();
    assert!(verbs.contains("check") && verbs.contains("umount"), "{help}");
    let mut texts: Vec<(String, String)> = files().into_iter().map(|file| (file.path, file.text)).collect();
    let documents = ["README.md", "CHANGELOG.md", "Makefile", "config/default.yaml", "config/presets/small.yaml"];
    texts.extend(documents.map(|name| (name.to_string(), fs::read_to_string(root().join(name)).expect("readable"))));
    let mut offences = Vec::new();
    for (path, text) in texts.iter().filter(|(path, _)| !path.starts_with("tests/tidy")) {
        // As it is quoted: in a text of a program after a backtick, in a session after a prompt.
        for called in ["`infmap ", "$ infmap "].iter().flat_map(|call| text.split(call).skip(1)) {
            let word = called.split(|c: char| !(c.is_ascii_alphabetic() || c == '-')).next().unwrap_or("");
            if !word.is_empty() && !word.starts_with('-') && !verbs.contains(word) {
                offences.push((path.clone(), format!("there is no verb `{word}`")));
            }
        }
    }
    enforce("verbs", offences);
}

#[test]
fn no_file_is_dead() {
    let files = files();
    let mut offences = Vec::new();
    for file in files.iter().filter(|file| file.path.contains("src/") && !file.path.starts_with("fuzz")) {
        let (dir, name) = file.path.rsplit_once('/').expect("a directory");
        let stem = name.trim_end_matches(".rs");
        if ["lib", "main"].contains(&stem) || dir.ends_with("/bin") {
            continue;
        }
        // Declared in the file beside its directory, or in the root of its crate.
        let parents = [format!("{dir}.rs"), format!("{dir}/lib.rs"), format!("{dir}/main.rs")];
        let declares = |text: &str| text.lines().any(|line| code(line).trim().trim_end_matches(';').ends_with(&format!("mod {stem}")));
        if !files.iter().any(|parent| parents.contains(&parent.path) && declares(&parent.text)) {
            offences.push((file.path.clone(), "no file declares it".into()));
        }
    }
    enforce("dead", offences);
}

#[test]
fn the_rules_catch_what_they_are_for() {
    let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
    let bad = [
        file("storage/src/a.rs", "use std::time::Instant;\n// std::env\nlet x = \"fuser\";\n#[cfg(test)]\nmod tests { std::thread }\n"),
        file("storage/src/device/file.rs", "use std::fs;\n"),
    ];
    assert_eq!(mentions(&bad, "storage", &["Instant", "std::env", "fuser", "std::thread"], &[]).len(), 1);
    assert_eq!(mentions(&bad, "storage", &["std::fs"], &["storage/src/device/file"]).len(), 0);
    assert_eq!(mentions(&bad, "storage", &["std::fs"], &[]).len(), 1);
    assert_eq!(code(r#"a "b // \" c" d '"' e // f"#), "a  d ' e ");
}
