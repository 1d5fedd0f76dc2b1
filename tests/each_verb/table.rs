//! The table: for each verb a call that succeeds, and one that is refused.
//!
//! In the calls `DIR` is a mount, `MOUNTED` its volume, `FILE` a file of 9 MiB in it, `AT` a place of the map where there is an image;
//! `VOLUME` is a volume that nobody has, `POINT` a mountpoint for it; `NEW` is a path at which nothing stands; `OLD` a file of settings, which
//! is made anew for each call; `PLACE` an empty directory.

/// What is done before a call, so that it can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Nothing,
    /// VOLUME is mounted at POINT.
    Mounted,
    /// A scrub of DIR runs, slowly.
    Scrubbing,
    /// It is paused.
    Paused,
    /// A scrub of DIR has come to its end, or will soon.
    Scrubbed,
}

/// A call of a verb that succeeds.
pub struct Case {
    /// As it is typed, with the verb below it.
    pub verb: &'static str,
    pub arguments: &'static str,
    pub before: Before,
    /// What stdout has for people.
    pub says: &'static str,
    /// What it is asked for are facts, which --quiet leaves.
    pub facts: bool,
    /// The kinds of objects on stdout with --json.
    pub kinds: &'static [&'static str],
}

/// A call of a verb that is refused: arguments, exit code, code.
pub struct Refused {
    pub verb: &'static str,
    pub arguments: &'static str,
    pub exit: i32,
    pub code: &'static str,
}

const fn done(verb: &'static str, arguments: &'static str, says: &'static str, kinds: &'static [&'static str]) -> Case {
    Case { verb, arguments, before: Before::Nothing, says, facts: false, kinds }
}

const fn fact(verb: &'static str, arguments: &'static str, says: &'static str, kinds: &'static [&'static str]) -> Case {
    Case { facts: true, ..done(verb, arguments, says, kinds) }
}

const fn after(before: Before, case: Case) -> Case {
    Case { before, ..case }
}

const fn refused(verb: &'static str, arguments: &'static str, exit: i32, code: &'static str) -> Refused {
    Refused { verb, arguments, exit, code }
}

pub const CASES: &[Case] = &[
    done("init", "NEW", "Made the volume ", &["created"]),
    fact("info", "VOLUME", "\nstate      clean\n", &["info"]),
    fact("info", "DIR", "\nmode       read and write\n", &["info"]),
    done("config check", "OLD", " settings, no mistakes", &["config"]),
    fact("config show", "--set limit=1GiB", "\nlimit: 1GiB", &["config"]),
    fact("config presets", "", "database\n  ", &["presets"]),
    fact("config schema", "", "\"$schema\"", &["config_schema"]),
    fact("config schema", "--markdown", "| `memory.budget` |", &["config_schema"]),
    done("config migrate", "OLD", " has version 1 already", &["migrated"]),
    fact("config migrate", "--dry-run OLD", "limit: 1GiB", &["migrated"]),
    fact("config reload", "DIR", "The settings are as they were.", &["reloaded"]),
    done("clean", "VOLUME", "Nothing is worth cleaning.", &["cleaned"]),
    done("clean", "DIR", "", &["cleaned"]),
    done("map render", "MOUNTED NEW", "Drew ", &["rendered"]),
    done("mount", "-d VOLUME POINT", "", &["mounted"]),
    done("mount", "-d --supervise VOLUME POINT", "", &["mounted"]),
    after(Before::Mounted, done("umount", "POINT", "", &["unmounted"])),
    after(Before::Mounted, done("remount", "POINT -o ro", "", &["remounted"])),
    fact("status", "DIR", "\nmode      read and write\n", &["status"]),
    fact("ps", "", "MOUNTPOINT", &["ps"]),
    done("check", "VOLUME", ": nothing is wrong.", &["checked"]),
    done("check", "--resume VOLUME", ": nothing is wrong.", &["checked"]),
    fact("check", "--path a VOLUME", "/a: 9.0 MiB, ", &["checked_file", "checked_path"]),
    done("scrub start", "DIR", "It began, ", &["scrub"]),
    fact("scrub start", "--wait DIR", "no errors found", &["scrub"]),
    after(Before::Scrubbing, done("scrub pause", "DIR", "It is paused, ", &["scrub"])),
    after(Before::Paused, done("scrub resume", "DIR", "It goes on, ", &["scrub"])),
    after(Before::Scrubbing, done("scrub cancel", "DIR", "It was cancelled, ", &["scrub"])),
    after(Before::Scrubbed, fact("scrub status", "--history DIR", "Error summary", &["scrub"])),
    after(Before::Scrubbed, fact("scrub wait", "DIR", "no errors found", &["scrub"])),
    fact("damage ls", "DIR", "Nothing is listed as lost.", &["damage"]),
    fact("damage show", "VOLUME a", "Nothing of a is listed as lost.", &["damage"]),
    done("damage clear", "--all DIR", "Forgot 0 lost range(s).", &["forgotten"]),
    done("repair", "VOLUME", "Nothing is to be repaired.", &["repaired"]),
    done("recover", "VOLUME NEW", "Recovered the volume ", &["recovered"]),
    done("restore", "VOLUME NEW", "Restored 1 files", &["restored"]),
    fact("stats", "--interval 10ms --count 2 DIR", "   ops/s ", &["stats"]),
    fact("top", "--interval 10ms --once DIR", "OPERATION ", &["top"]),
    fact("profile", "MOUNTED", " requests in ", &["profile"]),
    fact("locate", "FILE", "regular, 9.0 MiB", &["file", "extent"]),
    fact("find", "DIR AT", "bytes ", &["tenant"]),
    fact("doctor", "", "good  kernel: ", &["findings"]),
    fact("doctor", "VOLUME", "good  its disk: ", &["findings"]),
    done("doctor", "--drill --in PLACE", "Everything is as promised.", &["step"]),
    done("debug", "DIR --out NEW", "Wrote ", &["debug"]),
    fact("explain", "IM1042", "IM1042: ", &["codes"]),
    done("warm", "FILE", "Read 1 file(s), 9.0 MiB.", &["warmed"]),
    done("warm", "--background FILE", "Process ", &["warming"]),
    fact("cache stats", "DIR", "CACHE ", &["caches"]),
    done("cache flush", "DIR", "", &["flushed"]),
    done("cache drop", "DIR", "Dropped ", &["dropped"]),
    fact("bench", "--alone --size 1MiB --files 2 DIR", "random 4 KiB reads", &["bench"]),
    fact("completions", "fish", "complete -c infmap", &["completions"]),
    fact("man", "scrub start", "INFMAP-SCRUB-START(1)", &["man"]),
    fact("man", "IM1042", "IM1042: ", &["codes"]),
    done("man", "--out NEW", "Wrote ", &["man_written"]),
    done("install-helpers", "--into PLACE", "Installed mount.infmap", &["helpers"]),
    done("install-helpers", "--remove --into PLACE", "Removed mount.infmap", &["helpers"]),
    fact("version", "", "infmap ", &["version"]),
];

pub const REFUSED: &[Refused] = &[
    refused("init", "VOLUME", 1, "IM1012"),
    refused("info", "PLACE", 10, "IM1011"),
    refused("config check", "/nonexistent.yaml", 2, "IM1002"),
    refused("config show", "--set limt=1GiB", 2, "IM1002"),
    refused("config presets", "more", 2, "IM1001"),
    refused("config schema", "--html", 2, "IM1001"),
    refused("config migrate", "/nonexistent.yaml", 2, "IM1002"),
    refused("config reload", "VOLUME", 15, "IM1033"),
    refused("clean", "/nonexistent", 10, "IM1010"),
    refused("map render", "VOLUME PLACE", 2, "IM1018"),
    refused("mount", "VOLUME /nonexistent", 15, "IM1030"),
    refused("umount", "POINT", 15, "IM1033"),
    refused("remount", "POINT -o ro", 15, "IM1033"),
    refused("status", "VOLUME", 15, "IM1033"),
    refused("ps", "more", 2, "IM1001"),
    refused("check", "MOUNTED", 11, "IM1020"),
    refused("scrub start", "--region 999,999 DIR", 2, "IM1001"),
    refused("scrub pause", "DIR", 1, "IM1071"),
    refused("scrub resume", "DIR", 1, "IM1071"),
    refused("scrub cancel", "DIR", 1, "IM1071"),
    refused("scrub status", "VOLUME", 15, "IM1033"),
    refused("scrub wait", "VOLUME", 15, "IM1033"),
    refused("damage ls", "/nonexistent", 10, "IM1010"),
    refused("damage show", "DIR", 2, "IM1001"),
    refused("damage clear", "DIR", 2, "IM1001"),
    refused("repair", "MOUNTED", 11, "IM1020"),
    refused("recover", "/nonexistent NEW", 10, "IM1010"),
    refused("restore", "MOUNTED NEW", 11, "IM1020"),
    refused("stats", "--count 0 DIR", 2, "IM1001"),
    refused("top", "--interval fast DIR", 2, "IM1001"),
    refused("profile", "/nonexistent", 1, "IM1060"),
    refused("locate", "DIR/none", 1, "IM1080"),
    refused("find", "DIR 999,999", 1, "IM1080"),
    refused("doctor", "--in PLACE", 2, "IM1001"),
    refused("debug", "DIR --out OLD", 2, "IM1018"),
    refused("explain", "nonsense", 2, "IM1004"),
    refused("warm", "DIR/none", 1, "IM1080"),
    refused("cache stats", "VOLUME", 15, "IM1033"),
    refused("cache flush", "VOLUME", 15, "IM1033"),
    refused("cache drop", "VOLUME", 15, "IM1033"),
    refused("bench", "/nonexistent", 1, "IM1060"),
    refused("completions", "tcsh", 2, "IM1001"),
    refused("man", "scurb", 2, "IM1001"),
    refused("install-helpers", "--into /nonexistent", 1, "IM1060"),
    refused("version", "more", 2, "IM1001"),
];
