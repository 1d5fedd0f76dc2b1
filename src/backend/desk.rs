//! What the daemon answers on its control socket, and by HTTP.
//!
//! Must be true: CTL-3 of `control`: `status`, `metrics`, `config` and `scrub` read what is there and ask nobody; `clean` waits for a
//! round; what is lost of files is looked up on the thread of whoever asks, which waits for the disk and for no actor. Fails: with
//! `Reply::Refused`.

use super::reloading::Reloader;
use super::{caches, cleaning, places, scrubbing};
use crate::control::protocol::{Damage, DamagePage, Http, LostRange, Mode, NamedFile, Pool, Reply, Request, Scrub, Space, Status, Stuck};
use crate::fuse::Pages;
use crate::http::Facts;
use crate::message;
use crate::metrics::{Exposition, Sampler};
use infmap_actors::Volume;
use infmap_actors::scanner::Order;
use infmap_actors::volume::{PoolVitals, Vitals};
use infmap_storage::row::{Inode, Time};
use infmap_storage::volume_file::{time_text, uuid_text};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Bytes of names in one reply, before the last file.
const NAMES_MAX_BYTES: usize = 4 << 20;

/// Why there are no figures.
const NOT_MEASURED: &str = "nothing is measured: http.listen was off when it was mounted";

/// A mount as its daemon knows it.
pub(super) struct Desk {
    pub volume: Arc<Volume>,
    pub path: PathBuf,
    pub mountpoint: PathBuf,
    pub began: Instant,
    pub reloader: Arc<Reloader>,
    /// What is recorded, if anything is.
    pub figures: Option<Figures>,
    pub http: OnceLock<Http>,
    pub is_mounted: AtomicBool,
    pub pages: OnceLock<Pages>,
}

/// What a mount measures.
pub(super) struct Figures {
    pub exposition: Exposition,
    pub sampler: Sampler,
}

impl Desk {
    pub(super) fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::Metrics => match &self.figures {
                Some(figures) => Reply::Metrics { text: self.figures_text(figures) },
                None => Reply::Refused { why: NOT_MEASURED.into() },
            },
            Request::Scrub => Reply::Scrub(Box::new(scrubbing::facts(&self.volume, self.scrub()))),
            Request::ScrubStart(plan) => scrubbing::start(&self.volume, plan, self.scrub()),
            Request::ScrubPause => scrubbing::order(&self.volume, Order::Pause, self.scrub()),
            Request::ScrubResume => scrubbing::order(&self.volume, Order::Resume, self.scrub()),
            Request::ScrubCancel => scrubbing::order(&self.volume, Order::Cancel, self.scrub()),
            Request::Clean => self.clean(),
            Request::Config => Reply::Config { keys: self.reloader.keys() },
            Request::Reload => Reply::Reloaded(Box::new(self.reloader.reload("config reload"))),
            Request::Damage { after } => Reply::Damage(Box::new(self.damage(after))),
            Request::Locate { inode, after } => places::located(&self.volume, inode, after),
            Request::Find { x, y, cluster, after } => places::found(&self.volume, x, y, cluster, after),
            Request::Caches => caches::facts(&self.volume),
            Request::Flush => caches::flush(&self.volume, self.pages.get()),
            Request::DropClean => Reply::Dropped { bytes: self.volume.drop_clean() },
            Request::Warm { files, urgent } => caches::warm(&self.volume, &files, urgent),
            Request::ForgetDamage { inodes, all } => Reply::Forgot { count: self.forget_damage(&inodes, all) },
        }
    }

    /// Whose scanner it is.
    fn scrub(&self) -> Scrub {
        Scrub { uuid: uuid_text(self.volume.shared().uuid), volume: self.path.display().to_string(), ..Scrub::default() }
    }

    /// Waits for the cleaner.
    fn clean(&self) -> Reply {
        match cleaning::round(&self.volume) {
            Ok(cleaned) => Reply::Cleaned(cleaned),
            Err(why) => Reply::Refused { why },
        }
    }

    /// As much of the list as one reply may hold.
    fn damage(&self, after: Option<(u64, u64)>) -> DamagePage {
        let page = self.volume.damage_page(after.map(|(inode, offset)| (Inode(inode), offset)));
        paged(page, NAMES_MAX_BYTES)
    }

    fn forget_damage(&self, inodes: &[u64], all: bool) -> u64 {
        let list = &self.volume.shared().damage;
        if all {
            list.forget_not_kept();
        }
        list.forget(|noted| all || inodes.contains(&noted.damage.inode.0)) as u64
    }

    /// The status as one line of JSON.
    pub(super) fn status_text(&self) -> String {
        message::of("status", &self.status().shown()).map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    fn status(&self) -> Status {
        let shared = self.volume.shared();
        let base = Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_seconds: self.began.elapsed().as_secs(),
            volume: self.path.display().to_string(),
            uuid: uuid_text(shared.uuid),
            mountpoint: self.mountpoint.display().to_string(),
            ..Status::default()
        };
        let mut status = with_vitals(base, self.volume.vitals());
        status.space.limit_bytes = shared.settings().limit;
        status.is_mounted = self.is_mounted.load(Ordering::Acquire);
        status.http = self.http.get().cloned().unwrap_or_default();
        status.scrub = scrubbing::summary(&self.volume);
        status.config = self.reloader.status();
        status
    }
}

impl Desk {
    fn figures_text(&self, figures: &Figures) -> String {
        let began = Instant::now();
        figures.sampler.sample(&self.status());
        let text = figures.exposition.render();
        metrics::gauge!("infmap_scrape_duration_seconds").set(began.elapsed().as_secs_f64());
        text
    }
}

impl Facts for Desk {
    fn status(&self) -> Status {
        Self::status(self)
    }
    fn metrics(&self) -> String {
        self.figures.as_ref().map_or_else(String::new, |figures| self.figures_text(figures))
    }
}

/// A page for the wire. With names beyond `names_max` bytes it ends between two files.
fn paged(page: infmap_actors::volume::DamagePage, names_max: usize) -> DamagePage {
    let mut out = DamagePage { not_kept: page.not_kept, next: page.next.map(|(inode, offset)| (inode.0, offset)), ..DamagePage::default() };
    let mut names = 0;
    for noted in &page.noted {
        let damage = &noted.damage;
        if out.files.last().is_none_or(|file| file.inode != damage.inode.0) {
            if names > names_max {
                out.next = out.ranges.last().map(|range| (range.inode, u64::MAX));
                break;
            }
            let file = NamedFile::new(damage.inode, &damage.paths, page.unnamed.get(&damage.inode).copied().unwrap_or(0));
            names += file.paths_hex.iter().map(String::len).sum::<usize>();
            out.files.push(file);
        }
        out.ranges.push(LostRange::of(noted));
    }
    out
}

fn with_vitals(base: Status, vitals: Vitals) -> Status {
    let attention = attention(&vitals);
    let mode = match (&vitals.read_only, &attention) {
        (Some(_), _) => Mode::Ro,
        (None, Some(_)) => Mode::Degraded,
        (None, None) => Mode::Rw,
    };
    let Vitals { read_only, is_asked, available_bytes, image_bytes, dirty_bytes, dirty_limit_bytes, is_log_full, .. } = vitals;
    Status {
        mode,
        since: read_only.as_ref().map(|turned| moment(turned.wall_ns)),
        failed: read_only.is_some() && !is_asked,
        reason: read_only.map(|turned| turned.reason).or_else(|| attention.clone()),
        attention,
        space: Space { available_bytes, image_bytes, limit_bytes: None, dirty_bytes, dirty_limit_bytes, is_log_full },
        stuck: vitals.stuck.iter().map(|stuck| shown(stuck, vitals.now_us)).collect(),
        actors: vitals.pools.into_iter().map(pool).collect(),
        damage: Damage {
            unreadable: vitals.unreadable,
            unreadable_lately: vitals.unreadable_lately,
            restored: vitals.restored,
            listed: vitals.damages,
            is_zeroed: vitals.is_zeroed,
        },
        ..base
    }
}

/// What needs attention, whether changes are taken or not.
fn attention(vitals: &Vitals) -> Option<String> {
    if let Some(stuck) = vitals.stuck.first() {
        return Some(format!("{} is stuck: it waits for {}", stuck.who, stuck.waits_for));
    }
    let restarted: u64 = vitals.pools.iter().map(|pool| pool.restarted).sum();
    let panicked = || (restarted > 0).then(|| format!("an actor panicked and went on, {restarted} time(s): the messages say where"));
    damaged(vitals).or_else(panicked)
}

/// What is known to be damaged: until the list is empty, and a scrub of everything has left nothing.
fn damaged(vitals: &Vitals) -> Option<String> {
    let Vitals { unreadable_lately, restored_lately, scrub_left, damages, .. } = vitals;
    let what = match (unreadable_lately, damages, scrub_left, restored_lately) {
        (0, 0, 0, 0) => return None,
        (0, 0, 0, saved) => format!("parity saved {saved} read(s)"),
        (0, 0, left, _) => format!("the last scrub left {left} image(s) as they are; `infmap scrub status` and `infmap check` say more"),
        (0, listed, ..) => format!("{listed} place(s) of files are lost; `infmap damage ls` names the files"),
        (failed, 0, ..) => format!("{failed} read(s) could not be answered; `infmap check` says what is lost"),
        (failed, ..) => format!("{failed} read(s) could not be answered; `infmap damage ls` names the files"),
    };
    Some(format!("what is stored is damaged: {what}"))
}

fn pool(pool: PoolVitals) -> Pool {
    let PoolVitals { name, slots, dead, restarted, waiting, handled } = pool;
    Pool { name: name.into(), slots, dead, restarted, waiting, handled }
}

fn shown(stuck: &infmap_actors::watchdog::Stuck, now_us: u64) -> Stuck {
    let seconds = now_us.saturating_sub(stuck.since_us) / 1_000_000;
    Stuck { who: stuck.who.to_string(), seconds, waits_for: stuck.waits_for.clone() }
}

/// A moment in nanoseconds since 1970.
fn moment(wall_ns: i64) -> String {
    time_text(Time::from_unix_ns(wall_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{REPLY_MAX_BYTES, encode};
    use infmap_actors::shared::{Noted, Source};
    use infmap_storage::address::{Address, Cluster, Generation, Place, RegionId};
    use infmap_storage::damage::Found;

    fn noted(inode: u64, offset: u64, paths: Vec<Vec<u8>>) -> Noted {
        let region = RegionId { place: Place(u32::MAX), generation: Generation(u64::MAX) };
        let at = Address { region, cluster: Cluster::LAST };
        let (found, when) = (Found::Crc(u32::MAX), Some(Time { seconds: i64::MAX, nanos: 999_999_999 }));
        let damage =
            infmap_storage::damage::Damage { inode: Inode(inode), paths, offset, length: 4096, at, expected_crc: u32::MAX, found, when };
        Noted { damage, source: Source::Scrub }
    }

    #[test]
    fn no_list_is_too_long_for_a_reply_and_pages_together_have_all_of_it() {
        let long = vec![vec![b'n'; 4095]; 16];
        let all: Vec<Noted> = (0..4096).map(|n| noted(u64::MAX - 4096 + n, u64::MAX - 4096, long.clone())).collect();
        let (mut seen, mut after, mut pages) = (0, None, 0);
        loop {
            let rest = all.iter().filter(|noted| after.is_none_or(|after| (noted.damage.inode.0, noted.damage.offset) > after)).cloned();
            let page = paged(
                infmap_actors::volume::DamagePage { noted: rest.collect(), not_kept: u64::MAX, ..Default::default() },
                NAMES_MAX_BYTES,
            );
            assert!(encode(&Reply::Damage(Box::new(page.clone()))).expect("encoded").len() < REPLY_MAX_BYTES);
            (seen, pages) = (seen + page.ranges.len(), pages + 1);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(seen == 4096 && pages > 100, "{seen} in {pages}");
        let one_file: Vec<Noted> = (0..4096).map(|n| noted(u64::MAX, u64::MAX - 8192 + n, long.clone())).collect();
        let page = paged(infmap_actors::volume::DamagePage { noted: one_file, ..Default::default() }, NAMES_MAX_BYTES);
        assert!(
            (page.ranges.len(), page.files.len()) == (4096, 1)
                && encode(&Reply::Damage(Box::new(page))).expect("encoded").len() < REPLY_MAX_BYTES
        );
    }
}
