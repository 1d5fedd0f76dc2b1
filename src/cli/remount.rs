//! `infmap remount DIR -o OPTIONS`: changes what a mount allows while it stays. mount(8) comes here with `-o remount`.
//!
//! Owns: which words can change. Must be true: what cannot change is refused, never passed over; but mount(8) also names what is so already.
//! Fails: with [`Code::Option`], or as the mount does.

use super::error::{CliError, Code};
use super::{Context, options, output};
use crate::mount::remount::{Allowed, remount};
use crate::mount::{mountinfo, point};
use std::path::PathBuf;

/// Words of mount(8) that say nothing new about a mount that is there, or nothing of what it does.
const SAID_BEFORE: &[&str] = &["remount", "defaults", "relatime", "default_permissions", "user_id", "group_id", "max_read", "blksize"];

/// Change what a mount allows while it stays: ro, rw, and suid, dev, exec with their opposites.
#[derive(clap::Args)]
pub struct Remount {
    /// Where it is mounted.
    dir: PathBuf,
    /// What to change, separated by commas; what is not named stays.
    #[arg(short = 'o', value_name = "OPTIONS", required = true)]
    options: Vec<String>,
}

impl Remount {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        let path = point::absolute(&self.dir);
        let options = mountinfo::at(&path)?.map(|mounted| mounted.options).unwrap_or_default();
        remount(&path, allowed(self.options.iter().flat_map(|list| list.split(',')), &options)?)?;
        if context.json {
            return output::json("remounted", &serde_json::json!({ "remounted": path.display().to_string() }));
        }
        Ok(())
    }
}

/// What the words ask for of a mount that has `options` now, as mountinfo lists them; of two that contradict each other the later wins.
fn allowed<'a>(words: impl Iterator<Item = &'a str>, options: &str) -> Result<Allowed, CliError> {
    let has = |word: &str| options.split(',').any(|option| option == word);
    let mut allowed = Allowed::default();
    for word in words.filter(|word| !word.is_empty()) {
        match word {
            "ro" => allowed.read_only = Some(true),
            "rw" => allowed.read_only = Some(false),
            "suid" | "nosuid" => allowed.suid = Some(word == "suid"),
            "dev" | "nodev" => allowed.dev = Some(word == "dev"),
            "exec" | "noexec" => allowed.exec = Some(word == "exec"),
            "sync" | "allow_other" if has(word) => {}
            "async" if !has("sync") => {}
            other if SAID_BEFORE.contains(&other.split('=').next().unwrap_or(other)) => {}
            other => {
                // A word that nobody knows is told as that.
                let known = options::parse([other])?;
                if known != options::Options::default() || other == "async" {
                    let error = CliError::new(Code::Option, format!("`{other}` cannot be changed while the volume is mounted"));
                    return Err(error.help("unmount it, and mount it again with that option"));
                }
            }
        }
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mount_8_repeats_changes_nothing_and_what_is_asked_for_does() {
        let words = "rw,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions,allow_other,x-systemd.automount,nofail,remount,ro";
        let expected = Allowed { read_only: Some(true), suid: Some(false), dev: Some(false), exec: None };
        assert_eq!(allowed(words.split(','), "rw,nosuid,allow_other").expect("understood"), expected);
    }

    #[test]
    fn what_cannot_change_is_refused() {
        for (word, message) in [
            ("memory.budget=1GiB", "`memory.budget=1GiB` cannot be changed while the volume is mounted"),
            ("noatime", "`noatime` cannot be changed while the volume is mounted"),
            ("sync", "`sync` cannot be changed while the volume is mounted"),
            ("allow_other", "`allow_other` cannot be changed while the volume is mounted"),
            ("uid=3", "`uid=3` cannot be changed while the volume is mounted"),
            ("wrteback", "unknown mount option `wrteback`"),
        ] {
            assert_eq!(allowed([word].into_iter(), "rw,relatime").expect_err(word).message, message);
        }
        assert!(allowed(["sync"].into_iter(), "rw,sync").is_ok() && allowed(["async"].into_iter(), "rw,sync").is_err());
    }
}
