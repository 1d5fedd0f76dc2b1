//! Every verb in one form: what it says to people, its JSON, what --quiet leaves, and how it is refused; by a table, from which no verb that
//! the command line knows may be missing.

mod common;
#[path = "each_verb/table.rs"]
mod table;

use common::{Mount, Numbers, SOURCE, Volume, infmap, run};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Output;
use table::{Before, CASES, Case, REFUSED, Refused};

/// All verbs that do something, as they are typed.
fn verbs() -> BTreeSet<String> {
    fn collect(command: &clap::Command, above: &str, verbs: &mut BTreeSet<String>) {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let name = format!("{above}{}", verb.get_name());
            if verb.has_subcommands() {
                collect(verb, &format!("{name} "), verbs);
            } else {
                verbs.insert(name);
            }
        }
    }
    let mut verbs = BTreeSet::new();
    collect(&infmap::cli::command(), "", &mut verbs);
    assert!(verbs.len() > 40, "{verbs:?}");
    verbs
}

/// Meant to fail for each verb that was left out of the table.
#[test]
fn every_verb_stands_in_the_table_with_a_call_that_succeeds_and_one_that_is_refused() {
    let verbs = verbs();
    assert_eq!(CASES.iter().map(|case| case.verb.to_string()).collect::<BTreeSet<_>>(), verbs);
    assert_eq!(REFUSED.iter().map(|refused| refused.verb.to_string()).collect::<BTreeSet<_>>(), verbs);
}

/// Meant to fail when a kind was missing in the document.
#[test]
fn the_document_names_the_kinds_of_each_verb() {
    let text = fs::read_to_string(Path::new(SOURCE).join("docs/operations.md")).expect("readable");
    let part = text.split("\n## What programs read: `--json`\n").nth(1).expect("its section").split("\n## ").next().expect("text");
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_string).collect::<Vec<_>>();
    let rows = part.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | "));
    let pairs = |verbs: Vec<String>, kinds: Vec<String>| {
        verbs.into_iter().flat_map(move |verb| kinds.clone().into_iter().map(move |kind| (verb.clone(), kind)))
    };
    let told: BTreeSet<(String, String)> =
        rows.flat_map(|(verbs, rest)| pairs(code(&format!("`{verbs}")), code(rest.split(" | ").next().expect("a cell")))).collect();
    let real: BTreeSet<(String, String)> =
        CASES.iter().flat_map(|case| case.kinds.iter().map(|kind| (case.verb.to_string(), (*kind).to_string()))).collect();
    assert_eq!(told, real);
}

/// Where all is called: a mount, and a volume beside it that nobody has.
struct House {
    volume: Volume,
    mounted: Volume,
    mount: Mount,
    /// The place of an image of the mount.
    at: String,
    made: u32,
    /// A call may have left a mount or a scrub behind.
    is_left: bool,
}

impl House {
    fn build() -> Option<Self> {
        let (volume, mounted) = (Volume::if_mountable()?, Volume::new());
        let content = Numbers(5).bytes(9 << 20);
        let fill = |volume: &Volume| {
            let mount = volume.mount_with(&["--set", "log.access=true"]);
            fs::write(mount.path("a"), &content).expect("written");
            run(infmap().args(["cache", "flush"]).arg(mount.dir()));
            mount
        };
        fill(&volume).unmount();
        fill(&mounted).unmount();
        let mount = mounted.mount_with(&["--set", "log.access=true"]);
        let located = run(infmap().args(["--json", "locate"]).arg(mount.path("a")));
        let image = objects(&located).into_iter().find_map(|object| Some(object["image"].as_str()?.to_string())).expect("an extent");
        let name = image.rsplit('/').next().expect("a name").split('.').next().expect("a place").replace('_', ",");
        fs::create_dir(volume.beside("place")).expect("made");
        Some(Self { volume, mounted, mount, at: name, made: 0, is_left: false })
    }

    fn word(&mut self, word: &str) -> OsString {
        match word {
            "DIR" => self.mount.dir().into(),
            "DIR/none" => self.mount.path("none").into(),
            "FILE" => self.mount.path("a").into(),
            "MOUNTED" => self.mounted.path().into(),
            "VOLUME" => self.volume.path().into(),
            "POINT" => self.volume.mountpoint().into(),
            "PLACE" => self.volume.beside("place").into(),
            "OLD" => self.old().into(),
            "AT" => self.at.clone().into(),
            "NEW" => {
                self.made += 1;
                self.volume.beside(&format!("new-{}", self.made)).into()
            }
            word => word.into(),
        }
    }

    fn old(&self) -> PathBuf {
        let path = self.volume.beside("old.yaml");
        fs::write(&path, "version: 1\nlimit: 1GiB\n").expect("written");
        path
    }

    fn call(&mut self, flags: &[&str], verb: &str, arguments: &str) -> Output {
        let words: Vec<OsString> = arguments.split_whitespace().map(|word| self.word(word)).collect();
        // Places may begin with a sign.
        infmap().args(flags).args(verb.split(' ')).args(words).stdin(std::process::Stdio::null()).output().expect("it starts")
    }

    /// Brings about what a call needs, whatever the one before has left.
    fn prepare(&mut self, before: Before) {
        if std::mem::take(&mut self.is_left) {
            for (verb, arguments) in [("umount", "POINT"), ("scrub cancel", "DIR")] {
                // Perhaps there is nothing to end.
                self.call(&[], verb, arguments);
            }
        }
        let wanted: &[(&str, &str)] = match before {
            Before::Nothing => &[],
            Before::Mounted => &[("mount", "-d VOLUME POINT")],
            Before::Scrubbing => &[("scrub start", "--limit 1MiB/s DIR")],
            Before::Scrubbed => &[("scrub start", "DIR")],
            Before::Paused => &[("scrub start", "--limit 1MiB/s DIR"), ("scrub pause", "DIR")],
        };
        for (verb, arguments) in wanted {
            let output = self.call(&[], verb, arguments);
            assert!(output.status.success(), "{verb} {arguments}: {output:?}");
        }
    }

    fn succeeds(&mut self, case: &Case, flags: &[&str]) -> (String, String) {
        self.prepare(case.before);
        self.is_left = case.before != Before::Nothing || ["mount", "scrub start"].contains(&case.verb);
        let output = self.call(flags, case.verb, case.arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        // It looks at all mounts of the machine, and others may have some that are dead.
        if case.verb == "doctor" && output.status.code() == Some(1) && err.contains("IM1053") {
            return (out, String::new());
        }
        assert!(output.status.success(), "{flags:?} {} {}: {output:?}", case.verb, case.arguments);
        (out, err)
    }

    fn try_for_people(&mut self, case: &Case) {
        let Case { verb, arguments, says, .. } = case;
        let (out, _) = self.succeeds(case, &[]);
        assert!(out.contains(says), "{verb} {arguments}: {out}");
    }

    /// For programs, and for who wants no word.
    fn try_json_and_quiet(&mut self, case: &Case) {
        let Case { verb, arguments, facts, kinds, .. } = case;
        let (out, err) = self.succeeds(case, &["--json"]);
        let seen: BTreeSet<String> = objects(&out).iter().map(kind).collect();
        assert_eq!(seen, kinds.iter().map(ToString::to_string).collect(), "{verb} {arguments}: {out}");
        objects(&err).iter().for_each(|object| assert!(["note", "progress"].contains(&&*kind(object)), "{verb} {arguments}: {err}"));
        let (out, err) = self.succeeds(case, &["--quiet"]);
        assert!(err.is_empty() && out.is_empty() != *facts, "{verb} {arguments}, quietly: {out}{err}");
    }

    fn try_refused(&mut self, refused: &Refused) {
        let Refused { verb, arguments, exit, code } = refused;
        let output = self.call(&["--quiet"], verb, arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*exit), "{verb} {arguments}: {output:?}");
        assert!(said.starts_with(&format!("error[{code}]: ")) && said.contains("\nhelp: "), "{verb} {arguments}: {said}");
        assert!(output.stdout.is_empty(), "{verb} {arguments}: {output:?}");
        let output = self.call(&["--json"], verb, arguments);
        let errors = objects(&text(&output.stderr));
        let [error] = errors.as_slice() else { panic!("{verb} {arguments}: {output:?}") };
        assert_eq!((kind(error), error["code"].as_str(), error["exit"].as_i64()), ("error".into(), Some(*code), Some((*exit).into())));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The objects of a text, one a line.
fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// What every object says of itself.
fn kind(object: &Value) -> String {
    assert_eq!(object["version"], 1, "{object}");
    object["message_type"].as_str().unwrap_or_else(|| panic!("no kind: {object}")).to_string()
}

/// Meant to fail for 21 verbs without `message_type` or `version`, for doctor and explain as bare arrays, and where --quiet left a word.
#[test]
fn every_verb_speaks_to_people_and_programs_is_quiet_and_refuses_in_one_form() {
    let Some(mut house) = House::build() else { return };
    // One that is wrong hides no other.
    let mut wrong: Vec<&str> = Vec::new();
    for case in CASES.iter().filter(|case| !is_long(case)) {
        let tried = catch_unwind(AssertUnwindSafe(|| {
            house.try_for_people(case);
            house.try_json_and_quiet(case);
        }));
        wrong.extend(tried.is_err().then_some(case.verb));
    }
    house.prepare(Before::Nothing);
    for refused in REFUSED {
        let tried = catch_unwind(AssertUnwindSafe(|| house.try_refused(refused)));
        wrong.extend(tried.is_err().then_some(refused.verb));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    let House { mount, volume, .. } = house;
    mount.unmount();
    volume.check();
}

/// It takes half as long as all others together: it goes on beside them, and what it says to people is seen in the tests of `doctor`.
fn is_long(case: &Case) -> bool {
    case.arguments.contains("--drill")
}

#[test]
fn so_does_the_drill() {
    let Some(mut house) = House::build() else { return };
    let drills: Vec<&Case> = CASES.iter().filter(|case| is_long(case)).collect();
    assert_eq!(drills.len(), 1);
    drills.into_iter().for_each(|case| house.try_json_and_quiet(case));
    house.mount.unmount();
}
