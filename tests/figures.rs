//! `infmap stats` and `infmap top`: what they show of a mount under a load, and how they leave the terminal.

mod common;

use common::{Volume, infmap, run};
use std::fs;
use std::process::Command;

const MEASURED: [&str; 2] = ["--set", "http.listen=127.0.0.1:0"];

/// Seen to fail with rates of the wrong direction.
#[test]
fn stats_shows_a_line_for_each_interval_of_what_happened_in_it() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount_with(&MEASURED);
    let mut child = infmap();
    child.args(["--json", "stats", "--interval", "300ms", "--count", "3"]).arg(mount.dir()).stdout(std::process::Stdio::piped());
    let child = child.spawn().expect("it starts");
    for n in 0..200 {
        fs::write(mount.path(&format!("f{n}")), vec![1; 20_000]).expect("written");
    }
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.len() == 3 && lines.iter().all(|line| line["message_type"] == "stats" && line["version"] == 1), "{text}");
    let seen = |field: &str| lines.iter().filter_map(|line| line[field].as_f64()).fold(0.0, f64::max);
    assert!(seen("operations_per_second") > 10.0 && seen("written_bytes_per_second") > 10_000.0 && seen("p99_seconds") > 0.0, "{text}");
    assert!(seen("log_bytes") > 0.0, "{text}");
    let shown = run(infmap().args(["stats", "--interval", "50ms", "--count", "2"]).arg(volume.path()));
    assert!(shown.starts_with("   ops/s ") && shown.lines().count() == 3, "{shown}");
    mount.unmount();
    let output = infmap().args(["stats"]).arg(volume.path()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(15), "{output:?}");
}

#[test]
fn top_prints_one_page_when_asked_and_says_where_nothing_is_measured() {
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount_with(&MEASURED);
    fs::write(mount.path("f"), "x").expect("written");
    let page = run(infmap().args(["top", "--once", "--interval", "50ms"]).arg(mount.dir()));
    for part in ["read and write", "\nOPERATION ", "\nMAILBOX ", "\nvat ", "\nCACHE ", "\nl1 ", "budget 512.0 MiB"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains('\x1b'));
    let json: serde_json::Value =
        serde_json::from_str(&run(infmap().args(["--json", "top", "--once", "--interval", "50ms"]).arg(mount.dir()))).expect("JSON");
    assert!(json["message_type"] == "top" && json["mailboxes"].as_array().is_some_and(|pools| pools.len() > 5), "{json}");
    let output = infmap().arg("top").arg(mount.dir()).stdin(std::process::Stdio::null()).output().expect("it starts");
    assert!(output.status.code() == Some(2) && String::from_utf8_lossy(&output.stderr).contains("--once"), "{output:?}");
    mount.unmount();
    let mount = volume.mount_with(&["--set", "http.listen=off"]);
    for verb in ["stats", "top"] {
        let output = infmap().arg(verb).arg(mount.dir()).output().expect("it starts");
        assert!(output.status.code() == Some(1) && String::from_utf8_lossy(&output.stderr).starts_with("error[IM1082]"), "{output:?}");
    }
    mount.unmount();
}

/// Seen to fail with a screen that is not given back.
#[test]
fn top_leaves_the_terminal_as_it_was_however_it_ends() {
    if !common::has("script", "top on a terminal") {
        return;
    }
    let Some(volume) = Volume::if_mountable() else { return };
    let mount = volume.mount_with(&MEASURED);
    // By a key, by Ctrl-C, and by a signal: each to a process on a terminal of its own, which is asked before and after.
    for ending in ["printf q", "printf '\\003'", "kill -TERM $(cat pid)"] {
        // Ctrl-C is a signal to all of the terminal's processes: a shell without a trap may end before it asks.
        let program = "trap : INT; stty -a >before; sh -c 'echo $$ >pid; exec \"$0\" top --interval 100ms \"$1\"' \"$INFMAP\" \"$DIR\"; stty -a >after";
        // Until the first page is drawn, half a minute at most: what stands in a file by then, nobody tells.
        let drive = format!("n=0; until grep -q MAILBOX log 2>/dev/null || [ $n -gt 600 ]; do n=$((n+1)); sleep 0.05; done; {ending}");
        let dir = tempfile::tempdir().expect("a directory");
        let call = format!("({drive}) | timeout 60 script -qfc '{}' log >/dev/null", program.replace('\'', "'\\''"));
        run(Command::new("sh")
            .args(["-c", &call])
            .current_dir(dir.path())
            .env("INFMAP", common::INFMAP)
            .env("DIR", mount.dir())
            .env("TERM", "xterm"));
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_else(|error| panic!("{ending}: {name}: {error}"));
        assert_eq!(read("before"), read("after"), "{ending}");
        let log = String::from_utf8_lossy(&fs::read(dir.path().join("log")).expect("read")).into_owned();
        let (entered, left) = (log.rfind("\x1b[?1049h").expect("entered"), log.rfind("\x1b[?1049l").expect("left"));
        assert!(entered < left && log.rfind("\x1b[?25h") > log.rfind("\x1b[?25l"), "{ending}");
    }
    mount.unmount();
}
