//! Reading the settings of a mount again, and putting into force what can be while it is in use.
//!
//! Owns: the settings in force as they were asked for, their number, and what came of the last reload. Must be true: RLD-3 all sources are
//! read as at the mount, and one mistake in any of them changes nothing; RLD-4 one reload at a time, and each key that differs is told as
//! applied, as waiting for the next mount, or as refused with the reason, to the caller and in the log. Fails: with the mistakes, as
//! a reload that failed. Not from a thread of a pool.

use crate::config::reload::{Change, Changes};
use crate::config::show::{self, Row};
use crate::config::sources::{Look, Sources};
use crate::config::value::size;
use crate::config::{Loaded, schema};
use crate::control::protocol::{ConfigStatus, KeyInForce, Outcome, ReloadResult, Reloaded, Retuned};
use crate::fuse::Unmounter;
use crate::logging::Logging;
use crate::memory;
use infmap_actors::Volume;
use infmap_actors::settings::{Settings, Sync};
use infmap_actors::volume::{Kept, layout_refused};
use infmap_storage::row::Time;
use infmap_storage::volume_file::time_text;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

const BUDGET: &str = "memory.budget";
const SYNC: &str = "durability.sync";

/// What a mount needs to read its settings again.
pub struct Reload {
    pub sources: Sources,
    /// What their files looked like before they were read.
    pub looks: Vec<Look>,
    /// What was read from them for the mount.
    pub loaded: Loaded,
    pub logging: Logging,
}

/// The settings of a mount.
pub(super) struct Reloader {
    volume: Arc<Volume>,
    from: Reload,
    /// Mounted with `-o sync`.
    is_sync: bool,
    kernel: OnceLock<Unmounter>,
    /// The settings in force; held for as long as a reload takes.
    in_force: Mutex<Settings>,
    /// Never held while something is done: CTL-3.
    shown: Mutex<ConfigStatus>,
    /// The settings in force, as they are told; like `shown`.
    keys: Mutex<Vec<KeyInForce>>,
}

impl Reloader {
    /// `in_force`: as they were asked for at the mount.
    pub(super) fn new(volume: Arc<Volume>, from: Reload, is_sync: bool, mut in_force: Settings) -> Self {
        in_force.memory.promised = u64::from(in_force.background_requests()) * u64::from(in_force.max_write());
        let shown = ConfigStatus { generation: 1, preset: in_force.preset.name().into(), ..ConfigStatus::default() };
        metrics::gauge!("infmap_config_generation").set(1.0);
        metrics::gauge!("infmap_config_last_reload_successful").set(1.0);
        for result in ReloadResult::ALL {
            metrics::counter!("infmap_config_reload_total", "result" => result.name()).increment(0);
        }
        let keys = Mutex::new(keys_in_force(&[], &in_force, &from.loaded, is_sync));
        Self { volume, from, is_sync, kernel: OnceLock::new(), in_force: Mutex::new(in_force), shown: Mutex::new(shown), keys }
    }

    fn shown(&self) -> MutexGuard<'_, ConfigStatus> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mount is there.
    pub(super) fn mounted(&self, kernel: Unmounter) {
        let _ = self.kernel.set(kernel);
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.from.sources
    }

    /// What the files looked like at the mount.
    pub(super) fn first_looks(&self) -> Vec<Look> {
        self.from.looks.clone()
    }

    pub(super) fn logging(&self) -> &Logging {
        &self.from.logging
    }

    /// Whether files of settings are to be read again when they change.
    pub(super) fn is_watching(&self) -> bool {
        self.volume.shared().settings().config.watch
    }

    pub(super) fn status(&self) -> ConfigStatus {
        self.shown().clone()
    }

    pub(super) fn keys(&self) -> Vec<KeyInForce> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads everything again; `why` is for the log.
    pub(super) fn reload(&self, why: &str) -> Reloaded {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = match self.from.sources.read() {
            Err(unread) => {
                let mistakes = unread.to_string();
                tracing::error!("the settings were read again ({why}) and are refused; nothing has changed:\n{mistakes}");
                Reloaded { result: ReloadResult::Failed, mistakes: Some(mistakes), ..Reloaded::default() }
            }
            Ok(mut loaded) => {
                if self.is_sync {
                    loaded.settings.durability.sync = Sync::Always;
                }
                let reloaded = self.apply(&mut in_force, &loaded.settings, why);
                let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
                *keys = keys_in_force(&keys, &in_force, &loaded, self.is_sync);
                reloaded
            }
        };
        let mut shown = self.shown();
        shown.reloads += 1;
        shown.last = Some(time_text(Time::from_unix_ns(self.volume.shared().clock.wall_ns())));
        shown.last_result = reloaded.result;
        metrics::counter!("infmap_config_reload_total", "result" => reloaded.result.name()).increment(1);
        let is_well = reloaded.result != ReloadResult::Failed;
        metrics::gauge!("infmap_config_last_reload_successful").set(f64::from(u8::from(is_well)));
        if !is_well {
            shown.failed += 1;
        } else {
            metrics::gauge!("infmap_config_last_reload_timestamp_seconds").set(self.volume.shared().clock.wall_ns() as f64 / 1e9);
        }
        metrics::gauge!("infmap_config_generation").set(shown.generation as f64);
        Reloaded { generation: shown.generation, ..reloaded }
    }

    fn apply(&self, in_force: &mut Settings, read: &Settings, why: &str) -> Reloaded {
        let changes = Changes::between(in_force, read);
        let mut next = changes.applied(in_force, read);
        let mut kept = Vec::new();
        // Before the kernel is told anything that goes by it.
        if let Some(refused) = budget_refused(in_force, &next).or_else(|| layout_refused(in_force, &next)) {
            next.memory.budget = in_force.memory.budget;
            kept.push(Kept { key: BUDGET, why: refused });
        }
        let start = Instant::now();
        self.promise(&mut next);
        let refused = self.volume.retune(&next);
        if refused.iter().any(|kept| kept.key == BUDGET) {
            // The kernel was told what the other budget allows.
            next.memory.budget = in_force.memory.budget;
            self.promise(&mut next);
            kept.extend(self.volume.retune(&next));
        }
        kept.extend(refused);
        let took_ms = start.elapsed().as_millis();
        for change in changes.live.iter().filter(|change| kept.iter().any(|kept| kept.key == change.key.path)) {
            (change.key.set)(&mut next, (change.key.get)(in_force));
        }
        if next.log != in_force.log {
            self.from.logging.set(&next.log);
        }
        let mut rows: Vec<Retuned> = changes.live.iter().map(|change| row(change, &kept, &next)).collect();
        rows.extend(changes.remount.iter().map(|change| told(change, Outcome::Remount, None)));
        if rows.is_empty() {
            tracing::info!("settings ({why}): as they were");
        } else {
            tracing::info!(took_ms, "settings ({why}): {} key(s) differ", rows.len());
        }
        rows.iter().for_each(|row| tracing::info!("settings ({why}): {row}"));
        let is_whole = rows.iter().all(|row| row.outcome == Outcome::Applied);
        let mut shown = self.shown();
        shown.generation += u64::from(next != *in_force);
        shown.preset = next.preset.name().into();
        shown.waiting = changes.remount.iter().map(|change| change.key.path.into()).collect();
        drop(shown);
        *in_force = next;
        Reloaded { result: if is_whole { ReloadResult::Applied } else { ReloadResult::Partial }, keys: rows, ..Reloaded::default() }
    }

    /// Tells the kernel how many requests may be under way now. Where it cannot be told, the memory that they may need stays theirs.
    fn promise(&self, next: &mut Settings) {
        let mut free = next.clone();
        free.memory.promised = 0;
        let promised = u64::from(free.background_requests()) * u64::from(free.max_write());
        if promised == next.memory.promised {
            return;
        }
        match self.kernel.get().map(|kernel| kernel.set_background(free.background_requests())) {
            Some(Ok(())) => next.memory.promised = promised,
            Some(Err(error)) => tracing::debug!(%error, "the kernel may have as many requests under way as it was told at the mount"),
            None => {}
        }
    }
}

/// Every key with its value in force. It came from where it was read last, but for those of which that waits or was refused: `before`.
fn keys_in_force(before: &[KeyInForce], in_force: &Settings, read: &Loaded, is_sync: bool) -> Vec<KeyInForce> {
    let row = |Row { path, value, origin }: Row| {
        let now = schema::key(&path).map_or_else(|| value.clone(), |key| key.show(in_force));
        let old = before.iter().find(|old| old.key == path && now != value);
        let origin = if is_sync && path == SYNC { "-o sync".into() } else { old.map_or(origin, |old| old.origin.clone()) };
        KeyInForce { key: path, value: now, origin }
    };
    show::rows(read).into_iter().map(row).collect()
}

/// Why this process cannot have the memory.
fn budget_refused(in_force: &Settings, next: &Settings) -> Option<String> {
    let limit = memory::limit().filter(|limit| limit.bytes < next.memory.budget && next.memory.budget > in_force.memory.budget)?;
    Some(format!("{} is {}", limit.by, size(limit.bytes)))
}

/// What became of a key that can change now.
fn row(change: &Change, kept: &[Kept], next: &Settings) -> Retuned {
    if let Some(kept) = kept.iter().find(|kept| kept.key == change.key.path) {
        return told(change, Outcome::Refused, Some(kept.why.clone()));
    }
    let writers = next.memory_plan().writer_threads;
    let note = match change.key.path {
        "actors.pixel_writer.threads" if writers < next.actors.pixel_writer.threads => Some(format!("{BUDGET} pays for {writers} of them")),
        "durability.checkpoint_at" if next.checkpoint_at() < next.durability.checkpoint_at => {
            Some(format!("{BUDGET} allows {}", size(next.checkpoint_at())))
        }
        _ => None,
    };
    told(change, Outcome::Applied, note)
}

fn told(change: &Change, outcome: Outcome, why: Option<String>) -> Retuned {
    Retuned { key: change.key.path.into(), from: change.from.clone(), to: change.to.clone(), outcome, why }
}
