//! `infmap cache stats|flush|drop DIR`: what the caches of a mount hold, and emptying them.
//!
//! Must be true: `drop` drops nothing that is dirty; when `flush` has returned, everything that was written before is durable. Fails: as a
//! daemon does.

use super::Context;
use super::error::{CliError, Code};
use super::locate::unanswered;
use super::output::{self, columns, human};
use super::status::{self, Behind};
use crate::control::client;
use crate::control::protocol::CacheTier;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Say what the caches of a mount hold, write back what is dirty, or drop what is not.
#[derive(clap::Args)]
pub struct Cache {
    #[command(subcommand)]
    verb: CacheVerb,
}

#[derive(clap::Subcommand)]
enum CacheVerb {
    /// Say what each cache holds, and may hold.
    Stats {
        /// Where it is mounted, or the volume's directory.
        #[arg(value_name = "DIR|VOLUME")]
        path: PathBuf,
    },
    /// Make everything durable that was written so far, that which the kernel holds of open files too; its pages of those are dropped.
    Flush {
        /// Where it is mounted, or the volume's directory.
        #[arg(value_name = "DIR|VOLUME")]
        path: PathBuf,
    },
    /// Drop what was read and can be read again: before a measurement, or to give memory back. What the kernel keeps stays.
    Drop {
        /// Where it is mounted, or the volume's directory.
        #[arg(value_name = "DIR|VOLUME")]
        path: PathBuf,
    },
}

impl Cache {
    pub fn run(self, context: &Context) -> Result<(), CliError> {
        match self.verb {
            CacheVerb::Stats { path } => stats(&path, context),
            CacheVerb::Flush { path } => flush(&path, context),
            CacheVerb::Drop { path } => drop_clean(&path, context),
        }
    }
}

/// The tiers of a mount.
pub fn tiers(behind: &Behind) -> Result<Vec<CacheTier>, CliError> {
    client::caches(&behind.volume).map_err(|error| unanswered(behind, &error))
}

fn stats(path: &Path, context: &Context) -> Result<(), CliError> {
    let tiers = tiers(&Behind::of(path)?)?;
    if context.json {
        return output::json("caches", &serde_json::json!({ "tiers": tiers }));
    }
    columns(&["CACHE", "HELD", "LIMIT", "USED", "HIT", "ENTRIES", "HOLDS"], &tiers.iter().map(cells).collect::<Vec<_>>())
}

fn cells(tier: &CacheTier) -> Vec<String> {
    let holds = match tier.tier.as_str() {
        "l1" => "bytes of files, decoded",
        "l2" => "bytes of files, as they are stored compressed",
        "nodes" => "the tables",
        "dirty" => "bytes of files that no image has yet",
        _ => "",
    };
    let used = if tier.limit_bytes == 0 { 0.0 } else { 100.0 * tier.bytes as f64 / tier.limit_bytes as f64 };
    let asked = tier.hits + tier.misses;
    let hit = if asked == 0 { "-".into() } else { format!("{:.0} %", 100.0 * tier.hits as f64 / asked as f64) };
    let entries = if tier.tier == "dirty" { "-".into() } else { tier.entries.to_string() };
    vec![tier.tier.clone(), human(tier.bytes), human(tier.limit_bytes), format!("{used:.0} %"), hit, entries, holds.into()]
}

fn flush(path: &Path, context: &Context) -> Result<(), CliError> {
    let facts = status::ask(path)?;
    // The kernel begins to hand over what it holds back, many pages at a time. That it is done with it, and that it is durable then, nobody
    // says but the daemon.
    let synced = File::open(&facts.mountpoint).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?));
    synced.map_err(|error| match facts.failed {
        true => CliError::new(Code::ReadOnly, format!("{} is {}", facts.volume, status::mode_text(&facts))),
        false => CliError::io(format!("cannot write back {}", facts.mountpoint))(error),
    })?;
    let behind = Behind::of(path)?;
    let dirty_bytes = client::flush(&behind.volume).map_err(|error| match error {
        client::ControlError::Refused(why) if status::ask(path).is_ok_and(|facts| facts.failed) => CliError::new(Code::ReadOnly, why),
        error => behind.unanswered(&error),
    })?;
    if context.json {
        return output::json("flushed", &serde_json::json!({ "dirty_bytes": dirty_bytes }));
    }
    output::done("Everything that was written is durable.", context)
}

fn drop_clean(path: &Path, context: &Context) -> Result<(), CliError> {
    let behind = Behind::of(path)?;
    let bytes = client::drop_clean(&behind.volume).map_err(|error| unanswered(&behind, &error))?;
    if context.json {
        return output::json("dropped", &serde_json::json!({ "bytes": bytes }));
    }
    output::done(&format!("Dropped {}.", human(bytes)), context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_says_what_it_holds_and_how_full_it_is() {
        let tier = CacheTier { tier: "l1".into(), bytes: 512, limit_bytes: 1024, entries: 3, hits: 1, misses: 3 };
        assert_eq!(cells(&tier), ["l1", "512 B", "1.0 KiB", "50 %", "25 %", "3", "bytes of files, decoded"]);
        assert_eq!(cells(&CacheTier::default())[3], "0 %");
    }
}
