//! The configuration as people meet it: the files that are shipped, and every kind of mistake, each shown where it is.

mod common;

use infmap::config::mistake::Mistake;
use infmap::config::schema::{KEYS, key};
use infmap::config::{Layers, Loaded, Source, json_schema, preset, show, table};
use infmap_actors::settings::{Preset, Settings};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const DEFAULT: &str = include_str!("../config/default.yaml");

fn load(text: &str) -> Result<Loaded, Vec<Mistake>> {
    let mut layers = Layers::default();
    layers.yaml(&Source::new("test.yaml", text));
    layers.finish()
}

/// A text with one mistake, its line and column, and what must be said: what was found, what is allowed, and the help.
type Case = (&'static str, (usize, usize), &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    ("memory:\n  bugdet: 1GiB\n", (2, 3), "unknown key `bugdet`", "", "did you mean `budget`?"),
    ("memroy: { budget: 1GiB }\n", (1, 1), "unknown key `memroy`", "", "did you mean `memory`?"),
    ("mount:\n  commit_interval: 5s\n", (2, 3), "unknown key `commit_interval`", "", "did you mean `durability.commit_interval`?"),
    ("zzzzz: 1\n", (1, 1), "unknown key `zzzzz`", "", "`infmap config show` lists the keys"),
    ("memory:\n  budget: 16MiB\n", (2, 11), "out of range", "32MiB..1TiB", ""),
    ("memory: { budget: 2TiB }\n", (1, 19), "out of range", "32MiB..1TiB", ""),
    ("memory: { budget: 512MB }\n", (1, 19), "`512MB` is not a size", "32MiB..1TiB", "did you mean `512MiB`?"),
    ("memory: { budget: 512 }\n", (1, 19), "is not a size", "32MiB..1TiB", "a size needs a unit: 512MiB, 512GiB"),
    ("memory: { budget: -1MiB }\n", (1, 19), "is not a size", "32MiB..1TiB", ""),
    ("memory: { budget: [1GiB] }\n", (1, 19), "takes a size, but here is a list", "32MiB..1TiB", ""),
    ("memory: { budget: { size: 1GiB } }\n", (1, 19), "but here is a section", "32MiB..1TiB", ""),
    ("memory:\n  budget: ~\n", (2, 11), "but here is nothing", "32MiB..1TiB", ""),
    ("memory: 1GiB\n", (1, 9), "`memory` is a section, but here is a single value", "keys budget", ""),
    ("- memory\n", (1, 1), "the file is a section, but here is a list", "keys version, preset", ""),
    ("durability: { commit_interval: 5 }\n", (1, 32), "is not a duration", "100ms..5m", "a duration needs a unit: 5s, 5ms"),
    ("durability: { commit_interval: 10m }\n", (1, 32), "out of range", "100ms..5m", ""),
    ("durability: { sync: groupe }\n", (1, 21), "is not one of the words", "group | always | none", "did you mean `group`?"),
    ("actors: { cache: { threads: two } }\n", (1, 29), "is not a whole number", "1..64", ""),
    ("actors: { cache: { threads: \"2\" } }\n", (1, 29), "is not a whole number", "1..64", "write it without quotation marks"),
    ("actors: { cache: { threads: 2.5 } }\n", (1, 29), "is not a whole number", "1..64", ""),
    ("actors: { pixel_writer: { threads: 17 } }\n", (1, 36), "out of range", "1..16", ""),
    ("cache: { l1: 60 }\n", (1, 14), "is not a percentage", "5%..70%", "write 60%"),
    ("cache:\n  l1: 70%\n  l2: 50%\n", (2, 7), "take 120% together", "5%..70%", "at most 80%"),
    ("cache: { l2: 50%, l1: 40% }\n", (1, 23), "take 90% together", "5%..70%", "at most 80%"),
    ("mount: { writeback: yes }\n", (1, 21), "is not a switch", "true | false", "did you mean `true`?"),
    ("mount: { fuse_open: kernel }\n", (1, 21), "not available in this version", "daemon", "use daemon"),
    ("limit: 1MiB\n", (1, 8), "out of range", "none | 64MiB..4EiB", ""),
    ("version: 2\n", (1, 10), "out of range", "1..1", ""),
    ("compression: auto\ncompression: off\n", (2, 1), "the key `compression` is repeated", "", "it stands on line 1 already"),
    ("memory: {}\ncache: {}\nmemory: {}\n", (3, 1), "the key `memory` is repeated", "", "line 1"),
    ("memory: [1\n", (1, 10), "this is not YAML", "", ""),
    ("memory:\n\tbudget: 1GiB\n", (2, 2), "this is not YAML", "", ""),
    ("compression: 'auto\n", (1, 14), "this is not YAML", "", ""),
    ("compression: !!str auto\n", (1, 14), "tags, anchors and aliases", "", "write the value itself"),
    ("compression: &a auto\n", (1, 14), "tags, anchors and aliases", "", "write the value itself"),
    ("compression: auto\n---\nlimit: none\n", (2, 1), "a second document", "", "keep one document"),
    ("[a]: 1\n", (1, 1), "a key must be a word", "", "for example memory:"),
];

#[test]
fn every_kind_of_mistake_is_shown_where_it_is() {
    let mut wrong = Vec::new();
    for &(text, place, found, allowed, help) in CASES {
        let mistakes = load(text).expect_err(text);
        let [mistake] = &mistakes[..] else { panic!("one mistake in {text:?}: {mistakes:?}") };
        let at = (mistake.place.line, mistake.place.column);
        let (allows, helps) = (mistake.allowed.as_deref().unwrap_or(""), mistake.help.as_deref().unwrap_or(""));
        let right = at == place
            && mistake.found.contains(found)
            && allows.starts_with(allowed)
            && allows.is_empty() == allowed.is_empty()
            && helps.contains(help)
            && mistake.source_line().is_some();
        if !right {
            wrong.push(format!("{text:?} at {at:?}:\n{mistake}"));
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
fn every_preset_is_valid_says_what_it_is_for_and_why_and_fits_into_its_budget() {
    for preset in Preset::ALL {
        let name = preset.name();
        let text = fs::read_to_string(format!("{}/config/presets/{name}.yaml", common::SOURCE)).expect(name);
        assert_eq!(&*preset::source(*preset).text, text, "{name} is compiled in");
        let loaded = load(&format!("preset: {name}\n")).unwrap_or_else(|mistakes| panic!("{}", mistakes[0]));
        let (settings, plan) = (&loaded.settings, loaded.settings.memory_plan());
        assert!(settings.preset == *preset && plan.total() <= settings.memory.budget && settings.is_plan_sound(), "{name}: {plan:?}");
        // What it asks for is what it gets.
        assert_eq!(plan.writer_threads, settings.actors.pixel_writer.threads, "{name}");
        assert_eq!(settings.checkpoint_at(), settings.durability.checkpoint_at, "{name}");
        let purpose = preset::purpose(*preset);
        assert!(purpose.len() >= 2 && purpose[0].starts_with("For ") && purpose[0].ends_with('.'), "{name}: {purpose:?}");
        for (path, origin) in loaded.origins.iter().filter(|(path, _)| !["version", "preset"].contains(*path)) {
            let line = text.lines().nth(origin.place.line - 1).expect("a line");
            assert!(line.contains("# Why: "), "{name} does not say why of {path}: {line}");
        }
    }
    let small = load("preset: small\n").expect("valid").settings;
    assert_eq!(small.memory.budget, 32 << 20);
    assert_eq!(load("preset: general\n").expect("valid").settings, Settings::default());
}

#[test]
fn a_preset_lies_above_the_defaults_and_below_every_file_wherever_it_is_named() {
    let mut layers = Layers::default();
    layers.yaml(&Source::new("a.yaml", "memory: { budget: 1GiB }\npreset: laptop\n"));
    layers.assignment("--preset", "preset=small");
    let loaded = layers.finish().expect("no mistake");
    let shown = |path: &str| (key(path).expect(path).show(&loaded.settings), &*loaded.origins[path].source.name);
    assert_eq!(shown("preset"), ("small".into(), "--preset"));
    assert_eq!(shown("memory.budget"), ("1GiB".into(), "a.yaml"));
    assert_eq!(shown("cache.l1"), ("15%".into(), "preset small"));
    assert!(!loaded.origins.contains_key("mount.fuse_spin_us"), "laptop was not the last word");
    let mistakes = load("preset: smal\n").expect_err("refused");
    assert_eq!(mistakes[0].help.as_deref(), Some("did you mean `small`?"));
}

#[test]
fn the_schema_and_the_table_of_the_repository_are_those_of_the_program() {
    let schema = fs::read_to_string(format!("{}/config/schema.json", common::SOURCE)).expect("readable");
    assert!(schema.trim_end() == json_schema::text(), "run: infmap config schema > config/schema.json");
    let document = fs::read_to_string(format!("{}/docs/configuration.md", common::SOURCE)).expect("readable");
    assert!(document.contains(&table::markdown()), "put what `infmap config schema --markdown` prints into docs/configuration.md");
    assert!(DEFAULT.starts_with("# yaml-language-server: $schema=schema.json\n"));
    for preset in Preset::ALL {
        let row = format!("| `{}` | {} |", preset.name(), preset::purpose(*preset)[0]);
        assert!(document.contains(&row), "{row}");
    }
}

#[test]
fn a_file_is_migrated_with_its_comments_and_the_old_one_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("my.yaml");
    let call = |more: &[&str]| {
        let output = common::infmap().args(["config", "migrate"]).args(more).arg(&file).output().expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let old = "# mine\n\nmemory:\n  budget: 1GiB # enough\n";
    let new = "# mine\n\nversion: 1\nmemory:\n  budget: 1GiB # enough\n";
    for round in ["my.yaml.v0.bak", "my.yaml.v0.bak.2"] {
        fs::write(&file, old).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
        assert_eq!(call(&["--dry-run"]), (Some(0), new.into(), String::new()));
        assert_eq!(fs::read_to_string(&file).expect("read"), old);
        let (code, said, _) = call(&[]);
        assert!(code == Some(0) && said.contains("version 0 -> 1") && said.contains(round), "{said}");
        assert_eq!(
            (fs::read_to_string(&file).expect("read"), fs::read_to_string(dir.path().join(round)).expect("kept")),
            (new.into(), old.into())
        );
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
    }
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 3, "nothing else is left");
    let (code, said, _) = call(&[]);
    assert!(code == Some(0) && said.contains("has version 1 already"), "{said}");
    fs::write(&file, "version: 7\n").expect("written");
    let (code, _, said) = call(&[]);
    assert!(
        code == Some(2) && said.contains("has version 7; infmap 0.1.0 reads versions up to 1") && said.contains("later than 0.1.0"),
        "{said}"
    );
    fs::write(&file, "memroy: {}\n").expect("written");
    let (code, _, said) = call(&[]);
    assert!(code == Some(2) && said.contains("did you mean `memory`?"), "{said}");
    assert_eq!(fs::read_to_string(&file).expect("read"), "memroy: {}\n");
}

#[test]
fn presets_are_listed_and_chosen_on_the_command_line() {
    let said = |arguments: &[&str]| common::run(common::infmap().args(arguments));
    let listed = said(&["config", "presets"]);
    for preset in Preset::ALL {
        assert!(listed.contains(&format!("{}\n  {}", preset.name(), preset::purpose(*preset)[0])), "{listed}");
    }
    let json: serde_json::Value = serde_json::from_str(&said(&["--json", "config", "presets"])).expect("JSON");
    assert_eq!(json["presets"].as_array().map(Vec::len), Some(Preset::ALL.len()));
    let shown = said(&["config", "show", "--origin", "--preset", "database", "--set", "cache.l1=40%"]);
    let line = |key: &str| shown.lines().find(|line| line.trim_start().starts_with(key)).expect("shown").to_string();
    assert!(line("l1:").contains("40%") && line("l1:").contains("--set"), "{shown}");
    assert!(line("commit_interval:").contains("1s") && line("commit_interval:").contains("preset database:"), "{shown}");
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
    let json = show::json(&show::rows(&Loaded::default()));
    assert_eq!(json.as_object().map(serde_json::Map::len), Some(KEYS.len()));
    assert_eq!(json["memory.budget"]["allowed"], "32MiB..1TiB");
}

proptest! {
    #[test]
    fn what_is_shown_is_read_back_as_the_same_settings(budget in 32u64..1_000_000, threads in 1usize..=16, ms in 100u64..300_000, l1 in 5u64..=60, port: u16) {
        let mut loaded = Loaded::default();
        loaded.settings.memory.budget = budget << 20;
        loaded.settings.actors.pixel_writer.threads = threads;
        loaded.settings.durability.commit_interval = std::time::Duration::from_millis(ms);
        loaded.settings.cache.l1_percent = l1;
        let host = if port % 2 == 0 { std::net::IpAddr::from([127, 0, 0, 1]) } else { std::net::Ipv6Addr::LOCALHOST.into() };
        loaded.settings.http.listen = Some((host, port).into());
        for origins in [false, true] {
            let text = show::yaml(&show::rows(&loaded), origins);
            let again = load(&text).map_err(|mistakes| TestCaseError::fail(mistakes[0].to_string()))?;
            prop_assert_eq!(&again.settings, &loaded.settings);
        }
    }

    #[test]
    fn a_damaged_default_never_panics_and_never_misplaces(at in 0usize..8000, cut in 0usize..40, insert in "[ -~\\n\\t]{0,4}") {
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
