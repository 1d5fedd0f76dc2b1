//! What the daemon answers on its control socket.
//!
//! Must be true: CTL-3 of `control`: `status` reads what is there and asks nobody; `clean` waits for a round. Fails: with `Reply::Refused`.

use super::cleaning;
use crate::control::protocol::{Damage, Mode, Pool, Reply, Request, Space, Status, Stuck};
use infmap_actors::Volume;
use infmap_actors::volume::{PoolVitals, Vitals};
use infmap_storage::row::Time;
use infmap_storage::volume_file::{time_text, uuid_text};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// A mount as its daemon knows it.
pub(super) struct Desk {
    pub volume: Arc<Volume>,
    pub path: PathBuf,
    pub mountpoint: PathBuf,
    pub began: Instant,
}

impl Desk {
    pub(super) fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::Clean => self.clean(),
        }
    }

    /// Waits for the cleaner.
    fn clean(&self) -> Reply {
        match cleaning::round(&self.volume) {
            Ok(cleaned) => Reply::Cleaned(cleaned),
            Err(why) => Reply::Refused { why },
        }
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
        status.space.limit_bytes = shared.settings.limit;
        status
    }
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
        reason: read_only.map(|turned| turned.reason).or(attention),
        space: Space { available_bytes, image_bytes, limit_bytes: None, dirty_bytes, dirty_limit_bytes, is_log_full },
        stuck: vitals.stuck.iter().map(|stuck| shown(stuck, vitals.now_us)).collect(),
        actors: vitals.pools.into_iter().map(pool).collect(),
        damage: Damage { unreadable: vitals.unreadable, restored: vitals.restored },
        ..base
    }
}

/// What needs attention although changes are taken.
fn attention(vitals: &Vitals) -> Option<String> {
    if let Some(stuck) = vitals.stuck.first() {
        return Some(format!("{} is stuck: it waits for {}", stuck.who, stuck.waits_for));
    }
    let restarted: u64 = vitals.pools.iter().map(|pool| pool.restarted).sum();
    match (vitals.unreadable, vitals.restored) {
        (0, 0) if restarted > 0 => Some(format!("an actor panicked and went on, {restarted} time(s): the messages say where")),
        (0, 0) => None,
        (0, restored) => Some(format!("what is stored is damaged: parity saved {restored} read(s)")),
        (unreadable, _) => Some(format!("what is stored is damaged: {unreadable} read(s) could not be answered")),
    }
}

fn pool(pool: PoolVitals) -> Pool {
    let PoolVitals { name, slots, dead, restarted, waiting, handled } = pool;
    Pool { name: name.into(), slots, dead, restarted, waiting, handled }
}

fn shown(stuck: &infmap_actors::watchdog::Stuck, now_us: u64) -> Stuck {
    let seconds = now_us.saturating_sub(stuck.since_us) / 1_000_000;
    Stuck { who: stuck.who.to_string(), seconds, waits_for: stuck.waits_for.clone() }
}

fn moment(wall_ns: i64) -> String {
    time_text(Time { seconds: wall_ns.div_euclid(1_000_000_000), nanos: wall_ns.rem_euclid(1_000_000_000) as u32 })
}
