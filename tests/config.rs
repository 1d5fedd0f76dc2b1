//! The configuration as people meet it: the files that are shipped, and every kind of mistake, each shown where it is.

use infmap::config::mistake::Mistake;
use infmap::config::schema::{KEYS, key};
use infmap::config::{Layers, Loaded, Source, show};
use infmap_actors::settings::Settings;
use proptest::prelude::*;

const DEFAULT: &str = include_str!("../config/default.yaml");
const SMALL: &str = include_str!("../config/small.yaml");

fn load(text: &str) -> Result<Loaded, Vec<Mistake>> {
    let mut layers = Layers::default();
    layers.yaml(&Source::new("test.yaml", text));
    layers.finish()
}

/// A text with one mistake, where it is, and what must be said about it.
struct Case {
    text: &'static str,
    at: (usize, usize),
    found: &'static str,
    allowed: &'static str,
    help: &'static str,
}

const CASES: &[Case] = &[
    Case { text: "memory:\n  bugdet: 1GiB\n", at: (2, 3), found: "unknown key `bugdet`", allowed: "", help: "did you mean `budget`?" },
    Case { text: "memroy: { budget: 1GiB }\n", at: (1, 1), found: "unknown key `memroy`", allowed: "", help: "did you mean `memory`?" },
    Case {
        text: "mount:\n  commit_interval: 5s\n",
        at: (2, 3),
        found: "unknown key `commit_interval`",
        allowed: "",
        help: "did you mean `durability.commit_interval`?",
    },
    Case { text: "zzzzz: 1\n", at: (1, 1), found: "unknown key `zzzzz`", allowed: "", help: "`infmap config show` lists the keys" },
    Case { text: "memory:\n  budget: 16MiB\n", at: (2, 11), found: "out of range", allowed: "32MiB..1TiB", help: "" },
    Case { text: "memory: { budget: 2TiB }\n", at: (1, 19), found: "out of range", allowed: "32MiB..1TiB", help: "" },
    Case {
        text: "memory: { budget: 512MB }\n",
        at: (1, 19),
        found: "`512MB` is not a size",
        allowed: "32MiB..1TiB",
        help: "did you mean `512MiB`?",
    },
    Case {
        text: "memory: { budget: 512 }\n",
        at: (1, 19),
        found: "is not a size",
        allowed: "32MiB..1TiB",
        help: "a size needs a unit: 512MiB, 512GiB",
    },
    Case { text: "memory: { budget: -1MiB }\n", at: (1, 19), found: "is not a size", allowed: "32MiB..1TiB", help: "" },
    Case { text: "memory: { budget: [1GiB] }\n", at: (1, 19), found: "takes a size, but here is a list", allowed: "32MiB..1TiB", help: "" },
    Case { text: "memory: { budget: { size: 1GiB } }\n", at: (1, 19), found: "but here is a section", allowed: "32MiB..1TiB", help: "" },
    Case { text: "memory:\n  budget: ~\n", at: (2, 11), found: "but here is nothing", allowed: "32MiB..1TiB", help: "" },
    Case {
        text: "memory: 1GiB\n",
        at: (1, 9),
        found: "`memory` is a section, but here is a single value",
        allowed: "keys budget",
        help: "",
    },
    Case { text: "- memory\n", at: (1, 1), found: "the file is a section, but here is a list", allowed: "keys version, memory", help: "" },
    Case {
        text: "durability: { commit_interval: 5 }\n",
        at: (1, 32),
        found: "is not a duration",
        allowed: "100ms..5m",
        help: "a duration needs a unit: 5s, 5ms",
    },
    Case { text: "durability: { commit_interval: 10m }\n", at: (1, 32), found: "out of range", allowed: "100ms..5m", help: "" },
    Case {
        text: "durability: { sync: groupe }\n",
        at: (1, 21),
        found: "is not one of the words",
        allowed: "group | none",
        help: "did you mean `group`?",
    },
    Case { text: "actors: { cache: { threads: two } }\n", at: (1, 29), found: "is not a whole number", allowed: "1..64", help: "" },
    Case {
        text: "actors: { cache: { threads: \"2\" } }\n",
        at: (1, 29),
        found: "is not a whole number",
        allowed: "1..64",
        help: "write it without quotation marks",
    },
    Case { text: "actors: { cache: { threads: 2.5 } }\n", at: (1, 29), found: "is not a whole number", allowed: "1..64", help: "" },
    Case { text: "actors: { pixel_writer: { threads: 17 } }\n", at: (1, 36), found: "out of range", allowed: "1..16", help: "" },
    Case { text: "cache: { l1: 60 }\n", at: (1, 14), found: "is not a percentage", allowed: "5%..70%", help: "write 60%" },
    Case { text: "cache:\n  l1: 70%\n  l2: 50%\n", at: (2, 7), found: "take 120% together", allowed: "5%..70%", help: "at most 80%" },
    Case { text: "cache: { l2: 50%, l1: 40% }\n", at: (1, 23), found: "take 90% together", allowed: "5%..70%", help: "at most 80%" },
    Case {
        text: "mount: { writeback: yes }\n",
        at: (1, 21),
        found: "is not a switch",
        allowed: "true | false",
        help: "did you mean `true`?",
    },
    Case {
        text: "mount: { fuse_open: kernel }\n",
        at: (1, 21),
        found: "not available in this version",
        allowed: "daemon",
        help: "use daemon",
    },
    Case { text: "limit: 1MiB\n", at: (1, 8), found: "out of range", allowed: "none | 64MiB..4EiB", help: "" },
    Case { text: "version: 2\n", at: (1, 10), found: "out of range", allowed: "1..1", help: "" },
    Case {
        text: "compression: auto\ncompression: off\n",
        at: (2, 1),
        found: "the key `compression` is repeated",
        allowed: "",
        help: "it stands on line 1 already",
    },
    Case { text: "memory: {}\ncache: {}\nmemory: {}\n", at: (3, 1), found: "the key `memory` is repeated", allowed: "", help: "line 1" },
    Case { text: "memory: [1\n", at: (1, 10), found: "this is not YAML", allowed: "", help: "" },
    Case { text: "memory:\n\tbudget: 1GiB\n", at: (2, 2), found: "this is not YAML", allowed: "", help: "" },
    Case { text: "compression: 'auto\n", at: (1, 14), found: "this is not YAML", allowed: "", help: "" },
    Case {
        text: "compression: !!str auto\n",
        at: (1, 14),
        found: "tags, anchors and aliases",
        allowed: "",
        help: "write the value itself",
    },
    Case { text: "compression: &a auto\n", at: (1, 14), found: "tags, anchors and aliases", allowed: "", help: "write the value itself" },
    Case { text: "compression: auto\n---\nlimit: none\n", at: (2, 1), found: "a second document", allowed: "", help: "keep one document" },
    Case { text: "[a]: 1\n", at: (1, 1), found: "a key must be a word", allowed: "", help: "for example memory:" },
];

#[test]
fn every_kind_of_mistake_is_shown_where_it_is() {
    let mut wrong = Vec::new();
    for case in CASES {
        let mistakes = load(case.text).expect_err(case.text);
        let [mistake] = &mistakes[..] else { panic!("one mistake in {:?}: {mistakes:?}", case.text) };
        let at = (mistake.place.line, mistake.place.column);
        let (allowed, help) = (mistake.allowed.as_deref().unwrap_or(""), mistake.help.as_deref().unwrap_or(""));
        let right = at == case.at
            && mistake.found.contains(case.found)
            && allowed.starts_with(case.allowed)
            && allowed.is_empty() == case.allowed.is_empty()
            && help.contains(case.help)
            && mistake.source_line().is_some();
        if !right {
            wrong.push(format!("{:?} at {at:?}:\n{mistake}", case.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let mistakes = load("memory: { budget: 1 }\ncache: { l1: x, l3: 5% }\nfoo: 1\n").expect_err("four mistakes");
    let lines: Vec<_> = mistakes.iter().map(|m| m.place.line).collect();
    assert_eq!(lines, [1, 2, 2, 3]);
}

#[test]
fn the_shipped_default_equals_the_built_in_one_and_sets_every_key() {
    let loaded = load(DEFAULT).unwrap_or_else(|mistakes| panic!("{}", mistakes[0]));
    assert_eq!(loaded.settings, Settings::default());
    for key in KEYS {
        assert!(loaded.origins.contains_key(key.path), "{} is missing", key.path);
    }
}

#[test]
fn the_shipped_default_documents_every_key() {
    let loaded = load(DEFAULT).expect("the shipped default");
    let lines: Vec<&str> = DEFAULT.lines().collect();
    for key in KEYS {
        let at = loaded.origins[key.path].place.line - 1;
        let comment: Vec<&str> = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with('#')).copied().collect();
        let comment = comment.into_iter().rev().map(|line| line.trim_start().trim_start_matches(['#', ' '])).collect::<Vec<_>>().join(" ");
        let facts = format!("[{}; default {}; {}]", key.kind, key.show(&Settings::default()), key.class.name());
        assert!(comment.contains(key.doc), "{} lacks its sentence: {}\nfound: {comment}", key.path, key.doc);
        assert!(comment.contains(&facts), "{} lacks its facts: {facts}\nfound: {comment}", key.path);
        assert!(comment.contains("Why: "), "{} lacks its reason", key.path);
    }
}

#[test]
fn the_small_preset_is_a_budget_of_32_mebibytes_that_fits() {
    let loaded = load(SMALL).unwrap_or_else(|mistakes| panic!("{}", mistakes[0]));
    assert_eq!(loaded.settings.memory.budget, 32 << 20);
    assert!(loaded.settings.memory_plan().total() <= 32 << 20);
}

#[test]
fn the_command_line_wins_over_variables_and_those_over_files() {
    let mut layers = Layers::default();
    layers.yaml(&Source::new("a.yaml", "memory: { budget: 1GiB }\ncompression: off\nlimit: 1GiB\n"));
    layers.variables([
        ("INFMAP__MEMORY__BUDGET".into(), "2GiB".into()),
        ("INFMAP__LIMIT".into(), "none".into()),
        ("HOME".into(), "/".into()),
    ]);
    layers.assignment("--set", "memory.budget=3GiB");
    let loaded = layers.finish().expect("no mistake");
    let shown = |path: &str| (key(path).expect(path).show(&loaded.settings), &*loaded.origins[path].source.name);
    assert_eq!(shown("memory.budget"), ("3GiB".into(), "--set"));
    assert_eq!(shown("limit"), ("none".into(), "INFMAP__LIMIT"));
    assert_eq!(shown("compression"), ("off".into(), "a.yaml"));
}

#[test]
fn mistakes_on_the_command_line_are_pointed_at_too() {
    for (text, column, said) in [
        ("memory.budget=1", 15, "a size needs a unit"),
        ("memory.bugdet=1GiB", 1, "did you mean `memory.budget`?"),
        ("budget=1GiB", 1, "did you mean `memory.budget`?"),
        ("memory.budget", 1, "key=value"),
    ] {
        let mut layers = Layers::default();
        layers.assignment("--set", text);
        let mistakes = layers.finish().expect_err(text);
        assert_eq!((mistakes[0].place.column, mistakes[0].to_string().contains(said)), (column, true), "{}", mistakes[0]);
    }
}

#[test]
fn json_names_every_key() {
    let json = show::json(&Loaded::default());
    assert_eq!(json.as_object().map(serde_json::Map::len), Some(KEYS.len()));
    assert_eq!(json["memory.budget"]["allowed"], "32MiB..1TiB");
}

proptest! {
    #[test]
    fn what_is_shown_is_read_back_as_the_same_settings(budget in 32u64..1_000_000, threads in 1usize..=16, ms in 100u64..300_000, l1 in 5u64..=60) {
        let mut loaded = Loaded::default();
        loaded.settings.memory.budget = budget << 20;
        loaded.settings.actors.pixel_writer.threads = threads;
        loaded.settings.durability.commit_interval = std::time::Duration::from_millis(ms);
        loaded.settings.cache.l1_percent = l1;
        for origins in [false, true] {
            let text = show::yaml(&loaded, origins);
            let again = load(&text).map_err(|mistakes| TestCaseError::fail(mistakes[0].to_string()))?;
            prop_assert_eq!(&again.settings, &loaded.settings);
        }
    }

    #[test]
    fn a_damaged_default_never_panics_and_never_misplaces(at in 0usize..4000, cut in 0usize..40, insert in "[ -~\\n\\t]{0,4}") {
        let mut text: Vec<char> = DEFAULT.chars().collect();
        let at = at % text.len();
        let end = (at + cut).min(text.len());
        text.splice(at..end, insert.chars());
        let text: String = text.into_iter().collect();
        for mistake in load(&text).err().unwrap_or_default() {
            prop_assert!(mistake.source_line().is_some(), "{}", mistake);
        }
    }
}
