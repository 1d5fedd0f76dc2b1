//! The codes of failures: one table, which the program, its messages and docs/operations.md agree with.

mod common;

use common::SOURCE;
use infmap::cli::error::Code;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// All texts below a directory of the repository with one of these endings, by path.
fn texts(below: &str, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let found = common::walk(&Path::new(SOURCE).join(below)).into_iter();
    let wanted = found.filter(|path| path.extension().is_some_and(|extension| endings.iter().any(|ending| extension == *ending)));
    wanted.map(|path| (path.clone(), fs::read_to_string(path).expect("readable"))).collect()
}

/// The numbers of codes that a text shows.
fn numbers(text: &str) -> impl Iterator<Item = u16> {
    let behind =
        text.split("IM").skip(1).filter_map(|rest| rest.get(..4)).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    behind.filter_map(|digits| digits.parse().ok())
}

/// Words with one blank between them, for texts that are broken differently.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_code_that_is_written_anywhere_is_in_the_table() {
    let known: BTreeSet<u16> = Code::ALL.iter().map(|code| code.number()).collect();
    let readme =
        ["README.md", "CHANGELOG.md"].map(|name| (name.into(), fs::read_to_string(Path::new(SOURCE).join(name)).expect("readable")));
    let sources = ["src", "tests", "docs", "config", "scripts"].into_iter().flat_map(|dir| texts(dir, &["rs", "md", "yaml", "sh", "py"]));
    let mut seen = 0;
    for (path, text) in sources.chain(readme) {
        // The test of what is not there.
        for number in numbers(&text).filter(|number| *number != 1999) {
            assert!(known.contains(&number), "{}: there is no code IM{number}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn every_code_of_the_table_is_used() {
    let sources: String =
        texts("src", &["rs"]).into_iter().filter(|(path, _)| !path.ends_with("cli/code.rs")).map(|(_, text)| text).collect();
    for code in Code::ALL {
        let name = format!("Code::{code:?}");
        let used = sources.match_indices(&name).any(|(at, _)| !sources[at + name.len()..].starts_with(|next: char| next.is_alphanumeric()));
        assert!(used, "{name} is used nowhere");
    }
}

#[test]
fn operations_md_has_a_section_for_every_code_that_says_what_explain_says() {
    let document = fs::read_to_string(Path::new(SOURCE).join("docs/operations.md")).expect("readable");
    let sections: Vec<&str> = document.split("\n### IM").skip(1).collect();
    assert_eq!(sections.len(), Code::ALL.len());
    for (code, section) in Code::ALL.iter().zip(sections) {
        let section = section.split("\n## ").next().unwrap_or(section);
        let section = words(section);
        let head = format!("{} {} Exit code {}.", code.number(), code.title(), code.exit());
        assert!(section.starts_with(&head), "{head}\nis not how the section begins: {section}");
        for text in [code.cause(), code.help()] {
            assert!(section.contains(&words(text)), "IM{} does not say: {text}\n{section}", code.number());
        }
        for example in code.examples() {
            assert!(section.contains(example), "IM{} has no example `{example}`", code.number());
        }
    }
}

#[test]
fn explain_prints_one_lists_all_and_names_the_nearest() {
    let infmap = |arguments: &[&str]| common::infmap().args(arguments).output().expect("it starts");
    let one = String::from_utf8(infmap(&["explain", "IM1042"]).stdout).expect("UTF-8");
    assert!(
        one.starts_with("IM1042: The daemon ended before it was ready.\nExit code: 1\n") && one.contains("\n  $ infmap mount"),
        "{one}"
    );
    let all = String::from_utf8(infmap(&["explain"]).stdout).expect("UTF-8");
    assert_eq!(all.lines().count(), Code::ALL.len());
    let json: serde_json::Value = serde_json::from_slice(&infmap(&["--json", "explain", "1050"]).stdout).expect("JSON");
    assert_eq!((&json["codes"][0]["code"], &json["codes"][0]["exit"]), (&"IM1050".into(), &5.into()));
    let unknown = infmap(&["explain", "IM1999"]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(unknown.status.code() == Some(2) && said.starts_with("error[IM1004]: there is no code `IM1999`\nhelp: "), "{said}");
}
