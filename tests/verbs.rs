//! What the verbs print, and that help, man pages, completions and the README name the same ones.

mod common;

use common::{SOURCE, infmap, run};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The verbs that `--help` lists.
fn verbs() -> BTreeSet<String> {
    let help = run(infmap().arg("--help"));
    let groups = help.lines().skip_while(|line| *line != "Volume:").take_while(|line| *line != "Options:");
    let verbs: BTreeSet<String> =
        groups.filter(|line| line.starts_with("  ")).filter_map(|line| Some(line.split_whitespace().next()?.to_string())).collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    verbs
}

/// Seen to fail when the README missed a verb.
#[test]
fn help_man_pages_and_the_readme_name_the_same_verbs() {
    let verbs = verbs();
    let readme = fs::read_to_string(Path::new(SOURCE).join("README.md")).expect("readable");
    let table = readme.split("\n## The verbs\n").nth(1).expect("a table of verbs").split("\n## ").next().expect("its section");
    let told: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_string).collect::<Vec<_>>())
        .collect();
    assert_eq!(told, verbs, "the README");
    let dir = tempfile::tempdir().expect("a directory");
    let said = run(infmap().args(["man", "--out"]).arg(dir.path().join("man1")));
    let pages: BTreeSet<String> = fs::read_dir(dir.path().join("man1"))
        .expect("made")
        .map(|page| page.expect("a page").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(said.starts_with(&format!("Wrote {} pages into ", pages.len())), "{said}");
    for verb in &verbs {
        assert!(pages.contains(&format!("infmap-{verb}.1")), "{verb} has no page: {pages:?}");
    }
    for page in ["infmap.1", "infmap-scrub-start.1", "infmap-damage-ls.1"] {
        assert!(pages.contains(page), "{page}: {pages:?}");
    }
}

#[test]
fn a_man_page_is_shown_without_man() {
    let shown = run(infmap().env("PATH", "/nonexistent").args(["man", "scrub", "start"]));
    assert!(shown.starts_with("INFMAP-SCRUB-START(1)\n\nNAME\n") && shown.contains("\n       infmap scrub start "), "{shown}");
    assert!(shown.contains("\n       --limit <RATE>\n") && !shown.contains("\\fB") && !shown.contains("\n."), "{shown}");
    assert_eq!(run(infmap().args(["man", "IM1042"])), run(infmap().args(["explain", "IM1042"])));
    let json: serde_json::Value = serde_json::from_str(&run(infmap().args(["--json", "man", "init"]))).expect("JSON");
    assert_eq!((&json["message_type"], &json["version"], &json["page"]), (&"man".into(), &1.into(), &"infmap-init".into()));
    let output = infmap().args(["man", "scurb"]).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.starts_with("error[IM1001]") && said.contains("infmap man scrub"), "{said}");
}

#[test]
fn completions_name_every_verb_and_are_scripts() {
    let verbs = verbs();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(infmap().args(["completions", shell]));
        for verb in &verbs {
            assert!(script.contains(verb.as_str()), "{shell}: {verb}");
        }
    }
    assert_eq!(infmap().args(["completions", "tcsh"]).output().expect("it starts").status.code(), Some(2));
    // Where bash is, it takes the script, and completes a verb.
    let ask =
        "source <(\"$0\" completions bash); COMP_WORDS=(infmap sta); COMP_CWORD=1; _infmap infmap sta infmap; echo \"${COMPREPLY[@]}\"";
    let completed = run(Command::new("bash").args(["-c", ask, common::INFMAP]));
    assert!(completed.split_whitespace().any(|verb| verb == "status"), "{completed}");
}

#[test]
fn quiet_leaves_out_what_nobody_asked_for_and_keeps_facts_and_errors() {
    let dir = tempfile::tempdir().expect("a directory");
    let volume = dir.path().join("v");
    let quiet = |arguments: &[&str], path: &Path| infmap().arg("-q").args(arguments).arg(path).output().expect("it starts");
    for verb in [&["init"][..], &["check"]] {
        let output = quiet(verb, &volume);
        assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{verb:?}: {output:?}");
    }
    assert!(!quiet(&["info"], &volume).stdout.is_empty(), "facts are what info is asked for");
    let refused = quiet(&["init"], &volume);
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("error[IM1012]"), "{refused:?}");
}

/// Where there is a terminal, script(1) makes one.
#[test]
fn no_color_is_heard() {
    if !common::has("script", "colours on a terminal") {
        return;
    }
    let shown = |variable: Option<&str>| {
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{} --help", common::INFMAP), "/dev/null"]).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.envs(variable.map(|value| ("NO_COLOR", value)));
        String::from_utf8_lossy(&command.output().expect("it starts").stdout).into_owned()
    };
    assert!(shown(None).contains('\x1b'), "there is none to leave out: {}", shown(None));
    assert!(!shown(Some("1")).contains('\x1b'), "{}", shown(Some("1")));
}

#[test]
fn ps_lists_mounts_with_their_process_and_those_that_died() {
    let Some(volume) = common::Volume::if_mountable() else { return };
    let row = || {
        let facts: serde_json::Value = serde_json::from_str(&run(infmap().args(["--json", "ps"]))).expect("JSON");
        assert_eq!((&facts["message_type"], &facts["version"]), (&"ps".into(), &1.into()));
        let place = volume.mountpoint().to_string_lossy().into_owned();
        facts["mounts"].as_array().expect("a list").iter().find(|row| row["mountpoint"] == place.as_str()).cloned()
    };
    assert_eq!(row(), None);
    let mount = volume.mount();
    let living = row().expect("listed");
    assert_eq!((&living["mode"], living["pid"].as_u64()), (&"rw".into(), Some(mount.pid().into())));
    assert!(living["resident_bytes"].as_u64() > Some(1 << 20) && living["program_version"] == env!("CARGO_PKG_VERSION"), "{living}");
    let shown = run(infmap().arg("ps"));
    assert!(shown.starts_with("PID ") && shown.contains(&*volume.path().to_string_lossy()), "{shown}");
    mount.kill();
    let dead = row().expect("listed");
    assert!(dead["mode"] == "dead" && dead["reason"].as_str().is_some_and(|why| why.contains("has died")), "{dead}");
    volume.mount().unmount();
}

#[test]
fn bench_measures_a_mount_beside_its_disk_and_leaves_nothing() {
    let Some(volume) = common::Volume::if_mountable() else { return };
    let mount = volume.mount();
    let call = |more: &[&str]| {
        let mut command = infmap();
        command.args(more).args(["bench", "--size", "2MiB", "--files", "20"]).arg(mount.dir());
        command
    };
    let facts: serde_json::Value = serde_json::from_str(&run(&mut call(&["--json"]))).expect("JSON");
    assert_eq!((&facts["message_type"], &facts["version"]), (&"bench".into(), &1.into()));
    for side in ["mount", "beside"] {
        for figure in ["write_bytes_per_second", "read_bytes_per_second", "random_reads_per_second", "files_created_per_second"] {
            assert!(facts[side][figure].as_f64() > Some(0.0), "{side} {figure}: {facts}");
        }
    }
    let shown = run(&mut call(&[]));
    assert!(shown.starts_with("WHAT ") && shown.contains("\nrandom 4 KiB reads ") && shown.contains("Every byte that was read"), "{shown}");
    assert_eq!(common::walk(mount.dir()), Vec::<std::path::PathBuf>::new());
    assert!(
        fs::read_dir(volume.beside("")).expect("listed").all(|entry| !entry.expect("one").file_name().to_string_lossy().contains("bench"))
    );
    let output = infmap().args(["bench", "/nonexistent"]).output().expect("it starts");
    assert!(output.status.code() == Some(1) && String::from_utf8_lossy(&output.stderr).starts_with("error[IM1060]"), "{output:?}");
    assert_eq!(infmap().args(["bench", "--size", "5", "/tmp"]).output().expect("it starts").status.code(), Some(2));
    mount.unmount();
}
