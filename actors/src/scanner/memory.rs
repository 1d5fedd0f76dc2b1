//! What the scanner remembers over mounts, in `run/scrub.json`: where a run stopped, and the last runs.
//!
//! Owns: the file. Must be true: SCR-2 whatever stands in it, a volume is opened and served: torn, of another volume or another version it
//! counts as nothing, which is said; SCR-3 it is replaced whole, so a crash leaves the one before. It means nothing to the format. Fails:
//! a file that cannot be written is said once; then a run that is interrupted begins anew.

use super::run::{Run, RunState};
use infmap_storage::device::{Device, read_all, write_whole};
use infmap_storage::volume_file::{RUN_DIRECTORY, uuid_text};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

const FILE: &str = "run/scrub.json";
const FILE_MAX_BYTES: usize = 1 << 20;
const VERSION: u32 = 1;
/// Runs that are remembered.
pub const HISTORY_MAX: usize = 20;

/// The file.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    version: u32,
    uuid: String,
    since_s: i64,
    run: Option<Run>,
    history: Vec<Run>,
}

/// What is remembered.
#[derive(Default)]
pub struct Memory {
    uuid: [u8; 16],
    /// Since when there is a schedule; `None`: nothing is remembered yet.
    pub since_s: Option<i64>,
    /// Runs that ended, the newest first.
    pub history: Arc<Vec<Run>>,
    /// That it cannot be written was said.
    is_told: bool,
}

impl Memory {
    /// What an earlier mount has left, and the run that it did not finish.
    #[must_use]
    pub fn load(device: &dyn Device, uuid: [u8; 16]) -> (Self, Option<Run>) {
        let nothing = Self { uuid, ..Self::default() };
        match read(device, uuid) {
            Ok(None) => (nothing, None),
            Ok(Some(Kept { since_s, mut run, mut history, .. })) => {
                history.truncate(HISTORY_MAX);
                if let Some(run) = run.as_mut().filter(|run| !run.is_possible()) {
                    *run = run.anew();
                }
                if let Some(run) = run.as_mut().filter(|run| run.state != RunState::Paused) {
                    run.state = RunState::Interrupted;
                }
                (Self { since_s: Some(since_s), history: Arc::new(history), ..nothing }, run)
            }
            Err(why) => {
                tracing::warn!(why, "{FILE} is not used: what earlier scrubs found is forgotten, and one that was interrupted begins anew");
                (nothing, None)
            }
        }
    }

    /// A run has ended.
    pub fn add(&mut self, run: Run) {
        let mut history = vec![run];
        history.extend(self.history.iter().take(HISTORY_MAX - 1).cloned());
        self.history = Arc::new(history);
    }

    /// Writes it.
    pub fn keep(&mut self, device: &dyn Device, run: Option<&Run>, now_s: i64) {
        let since_s = *self.since_s.get_or_insert(now_s);
        let kept =
            Kept { version: VERSION, uuid: uuid_text(self.uuid), since_s, run: run.cloned(), history: self.history.as_ref().clone() };
        let written = serde_json::to_vec(&kept).map_err(io::Error::from);
        let written = written.and_then(|bytes| device.create_dir(RUN_DIRECTORY).and_then(|()| write_whole(device, FILE, &bytes)));
        if let Err(error) = &written
            && !self.is_told
        {
            tracing::warn!(%error, "how far a scrub came cannot be written down: one that is interrupted begins anew");
        }
        self.is_told = written.is_err();
    }
}

fn read(device: &dyn Device, uuid: [u8; 16]) -> Result<Option<Kept>, String> {
    let bytes = match read_all(device, FILE, FILE_MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    match (kept.version, kept.uuid == uuid_text(uuid)) {
        (VERSION, true) => Ok(Some(kept)),
        (VERSION, false) => Err("it is of another volume".into()),
        (version, _) => Err(format!("it has version {version}, and this program writes {VERSION}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::{Scope, Tally};
    use super::*;
    use infmap_storage::device::MemoryDevice;
    use proptest::prelude::*;

    const UUID: [u8; 16] = *b"a volume in test";

    fn run() -> Run {
        let tally = Tally { corrected: 2, lost_ranges: 9, ..Tally::default() };
        Run { scope: Scope::Path(b"a \xff/b".to_vec()), next: 77, bytes: u64::MAX, tally, ..Run::default() }
    }

    #[test]
    fn what_was_kept_is_found_again_a_run_as_interrupted_and_a_paused_one_as_paused() {
        let device = MemoryDevice::new();
        let (mut memory, none) = Memory::load(&device, UUID);
        assert!(none.is_none() && memory.since_s.is_none());
        (0..30).for_each(|n| memory.add(Run { images: n, ..run() }));
        memory.keep(&device, Some(&run()), 5);
        let (found, interrupted) = Memory::load(&device, UUID);
        assert_eq!(interrupted, Some(Run { state: RunState::Interrupted, ..run() }));
        assert_eq!((found.since_s, found.history.len(), found.history[0].images, found.history[19].images), (Some(5), HISTORY_MAX, 29, 10));
        let paused = Run { state: RunState::Paused, ..run() };
        memory.keep(&device, Some(&paused), 6);
        assert_eq!(Memory::load(&device, UUID).1, Some(paused));
        assert!(Memory::load(&device, [7; 16]).0.since_s.is_none(), "of another volume");
    }

    proptest! {
        /// SCR-2
        #[test]
        fn no_bytes_in_the_file_do_harm(noise: Vec<u8>, cut in 0usize..2000, at in 0usize..2000, bits: u8) {
            let device = MemoryDevice::new();
            let mut memory = Memory { uuid: UUID, ..Memory::default() };
            memory.add(run());
            memory.keep(&device, Some(&run()), 5);
            let mut bytes = read_all(&device, FILE, FILE_MAX_BYTES).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= bits;
            bytes.truncate(cut.max(1));
            for bytes in [noise, bytes] {
                write_whole(&device, FILE, &bytes).unwrap();
                let (memory, run) = Memory::load(&device, UUID);
                prop_assert!(memory.history.len() <= HISTORY_MAX);
                if let Some(mut run) = run {
                    run.passed(infmap_storage::address::Place(u32::MAX), run.bytes);
                    let _ = run.ratio();
                }
            }
        }
    }
}
