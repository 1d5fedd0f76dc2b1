//! Whether a mount is well, as the checks of a probe.
//!
//! Must be true: HEL-1 a check fails exactly if users of the mount feel it, or lose something. Fails: never.

use crate::control::protocol::{Damage, Mode, Status};
use std::fmt::Write as _;

/// One look at one side of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    /// Why it failed.
    pub failed: Option<String>,
}

/// All checks, in their order.
#[must_use]
pub fn checks(status: &Status) -> Vec<Check> {
    let reason = || status.reason.clone().unwrap_or_else(|| "no reason given".into());
    let mode = (status.mode == Mode::Ro && status.failed).then(|| format!("read-only: {}", reason()));
    let log = status.space.is_log_full.then(|| "it is full: writes wait for a checkpoint".to_string());
    let integrity = lost(&status.damage);
    let dead = status.actors.iter().find(|pool| pool.dead > 0).map(|pool| format!("{} of {} are dead", pool.dead, pool.name));
    let late = |is_actor: bool| {
        let stuck = status.stuck.iter().find(|stuck| stuck.who.starts_with("the actor ") == is_actor);
        stuck.map(|stuck| format!("{} is stuck for {} s: it waits for {}", stuck.who, stuck.seconds, stuck.waits_for))
    };
    let door = if status.is_mounted { late(false) } else { Some("it is not mounted".into()) };
    [("mode", mode), ("log", log), ("integrity", integrity), ("actors", dead.or_else(|| late(true))), ("door", door)]
        .map(|(name, failed)| Check { name, failed })
        .into()
}

/// What is lost of files, whoever noticed it and in whatever mount: until a scrub of everything has found all well, and the list is empty.
fn lost(damage: &Damage) -> Option<String> {
    match (damage.unreadable_lately, damage.listed) {
        (0, 0) => None,
        (0, listed) => Some(format!("{listed} place(s) of files are lost; see infmap damage ls")),
        (reads, _) => Some(format!("{reads} read(s) could not be answered; see infmap damage ls")),
    }
}

/// The checks as Kubernetes writes them.
#[must_use]
pub fn text(name: &str, checks: &[Check]) -> String {
    let mut out = String::new();
    for Check { name, failed } in checks {
        let _ = match failed {
            None => writeln!(out, "[+]{name} ok"),
            Some(why) => writeln!(out, "[-]{name} failed: {why}"),
        };
    }
    let ends = if checks.iter().any(|check| check.failed.is_some()) { "failed" } else { "passed" };
    let _ = writeln!(out, "{name} check {ends}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{Pool, Space, Stuck};

    fn failed(status: Status) -> Vec<(&'static str, String)> {
        checks(&status).into_iter().filter_map(|check| Some((check.name, check.failed?))).collect()
    }

    fn stuck(who: &str) -> Vec<Stuck> {
        vec![Stuck { who: who.into(), seconds: 12, waits_for: "the disk".into() }]
    }

    /// Meant to fail when all reads of the mount and attention of any kind decided.
    #[test]
    fn each_check_fails_by_what_it_is_for_and_by_nothing_else() {
        let well = || Status { is_mounted: true, ..Status::default() };
        assert_eq!(failed(well()), []);
        assert_eq!(failed(Status { mode: Mode::Ro, ..well() }), [], "it was asked for");
        assert_eq!(failed(Status { mode: Mode::Degraded, ..well() }), [], "changes are taken");
        let settled = Damage { unreadable: 3, restored: 2, ..Damage::default() };
        assert_eq!(failed(Status { damage: settled, ..well() }), [], "all is well again");
        let panicked = Status { mode: Mode::Degraded, attention: Some("an actor panicked and went on, 1 time(s)".into()), ..well() };
        assert_eq!(failed(Status { damage: settled, ..panicked }), [], "attention for another reason");
        let cases = [
            (Status { mode: Mode::Ro, failed: true, reason: Some("the disk".into()), ..well() }, "mode", "read-only: the disk"),
            (Status { space: Space { is_log_full: true, ..Space::default() }, ..well() }, "log", "it is full"),
            (Status { damage: Damage { unreadable: 5, unreadable_lately: 3, ..Damage::default() }, ..well() }, "integrity", "3 read(s)"),
            (Status { damage: Damage { listed: 2, ..Damage::default() }, ..well() }, "integrity", "2 place(s)"),
            (Status { actors: vec![Pool { name: "wal".into(), dead: 1, ..Pool::default() }], ..well() }, "actors", "1 of wal are dead"),
            (Status { stuck: stuck("the actor wal 0, in `write`"), ..well() }, "actors", "the actor wal 0, in `write` is stuck for 12 s"),
            (Status { stuck: stuck("a request `read`"), ..well() }, "door", "a request `read` is stuck for 12 s: it waits for the disk"),
            (Status::default(), "door", "it is not mounted"),
        ];
        for (status, name, why) in cases {
            let failed = failed(status);
            assert!(matches!(&failed[..], [(found, text)] if *found == name && text.starts_with(why)), "{name}: {failed:?}");
        }
    }

    #[test]
    fn the_text_is_that_of_kubernetes() {
        let checks = [Check { name: "mode", failed: None }, Check { name: "log", failed: Some("full".into()) }];
        assert_eq!(text("readyz", &checks), "[+]mode ok\n[-]log failed: full\nreadyz check failed\n");
        assert_eq!(text("readyz", &checks[..1]), "[+]mode ok\nreadyz check passed\n");
    }
}
