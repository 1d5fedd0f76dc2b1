//! How inodes hang together, once all of them have come by.
//!
//! Must be true: NAM-2, NAM-3, NAM-5 a directory's parent is the one that names it; NAM-6 every directory lies below the root, none
//! below itself; NAM-7 an entry leads to an inode of the kind that it says; NAM-8 numbers that are given out were never used.
//! Memory: one path. Fails: never.

use super::finding::{Findings, HELP_HARMLESS, HELP_NAMES, HELP_REPORT};
use super::inodes::{Fact, ROOT};
use crate::row::FileKind;
use std::collections::{HashMap, HashSet};

/// Judges all links. `next_inode` and `inodes` are those that the root carries on from.
pub(super) fn judge(facts: &HashMap<u64, Fact>, next_inode: u64, inodes: u64, findings: &mut Findings) {
    let mut numbers: Vec<u64> = facts.keys().copied().collect();
    numbers.sort_unstable();
    for inode in &numbers {
        if let Some(fact) = facts.get(inode) {
            one(*inode, fact, findings);
        }
    }
    let existing = facts.values().filter(|fact| fact.kind.is_some()).count() as u64;
    if existing != inodes {
        let what = format!("the root counts {inodes} inodes, there are {existing}");
        findings.warning("SPC-4", "the root", what, HELP_HARMLESS);
    }
    if let Some(last) = numbers.last().filter(|last| **last >= next_inode) {
        let what = format!("the next inode is {next_inode}, and {last} is in use");
        findings.damage("NAM-8", "the root", what, HELP_REPORT);
    }
    if facts.get(&ROOT).and_then(|fact| fact.kind) != Some(FileKind::Directory) {
        findings.damage("NAM-6", "the root directory", "there is none", HELP_NAMES);
    }
    cycles(facts, &numbers, findings);
}

fn one(inode: u64, fact: &Fact, findings: &mut Findings) {
    let place = || format!("inode {inode}");
    let Some(kind) = fact.kind else {
        if fact.names > 0 {
            let what = format!("{} names lead to it (one in directory {}), and it does not exist", fact.names, fact.named_in);
            findings.damage("NAM-7", place(), what, HELP_NAMES);
        } else if fact.is_orphan {
            findings.warning("NAM-3", place(), "it is called an orphan and does not exist", "The next mount drops the row.");
        }
        return;
    };
    if fact.named_kind.is_some_and(|named| named != kind) {
        let what = format!("its name in directory {} calls it another kind of file than it is", fact.named_in);
        findings.damage("NAM-7", place(), what, HELP_NAMES);
    }
    let is_root = inode == ROOT;
    if kind == FileKind::Directory {
        if fact.names > 1 || (is_root && fact.names > 0) {
            findings.damage("NAM-2", place(), "a directory has more names than one", HELP_NAMES);
        }
        let parent = if is_root { ROOT } else { fact.named_in };
        if (is_root || fact.names > 0) && fact.parent != parent {
            let what = format!("it says that its parent is {}, and directory {parent} names it", fact.parent);
            findings.damage("NAM-5", place(), what, HELP_NAMES);
        }
    } else if fact.links != fact.names {
        let what = format!("it counts {} names and has {}", fact.links, fact.names);
        findings.damage("NAM-2", place(), what, HELP_NAMES);
    }
    let is_nameless = fact.names == 0 && !is_root;
    if is_nameless != fact.is_orphan || fact.is_orphan != (fact.links == 0) {
        let (orphan, links) = (if fact.is_orphan { "is" } else { "is not" }, fact.links);
        let what = format!("it has {} names, counts {links} links, and {orphan} called an orphan", fact.names);
        findings.damage("NAM-3", place(), what, HELP_NAMES);
    }
}

/// Follows each directory upwards. A chain ends at the root, at one that was followed before, at one without a name (told by
/// `one`), or in a cycle.
fn cycles(facts: &HashMap<u64, Fact>, numbers: &[u64], findings: &mut Findings) {
    let mut done: HashSet<u64> = HashSet::new();
    let mut path: Vec<u64> = Vec::new();
    let mut on_path: HashSet<u64> = HashSet::new();
    for &start in numbers {
        let mut at = start;
        while let Some(fact) = facts.get(&at).filter(|fact| fact.kind == Some(FileKind::Directory)) {
            if at == ROOT || done.contains(&at) || fact.names == 0 {
                break;
            }
            if !on_path.insert(at) {
                let what = "it lies below itself: nothing in it can be reached";
                findings.damage("NAM-6", format!("directory {at}"), what, HELP_NAMES);
                break;
            }
            path.push(at);
            at = fact.named_in;
        }
        done.extend(path.drain(..));
        on_path.clear();
    }
}
