//! The scanner beside a checkpoint that stands still between the places of its nodes and their image.

use super::*;
use infmap_storage::device::{DeviceFile, DirEntry, Metadata, Space};
use parking_lot::Mutex;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Whoever next gives an image its name says so, and waits for the other end.
type Stop = Mutex<Option<(Sender<()>, Receiver<()>)>>;

struct Stopping {
    inner: MemoryDevice,
    stop: Arc<Stop>,
}

impl Device for Stopping {
    fn open(&self, path: &str, how: Open) -> io::Result<Arc<dyn DeviceFile>> {
        self.inner.open(path, how)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        self.inner.list(path)
    }

    fn metadata(&self, path: &str) -> io::Result<Option<Metadata>> {
        self.inner.metadata(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let stop = if to.starts_with("map/") { self.stop.lock().take() } else { None };
        if let Some((reached, go)) = stop {
            reached.send(()).unwrap();
            go.recv().unwrap();
        }
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
}

/// Seen to fail when a region counted as durable because something refers to it: a node that was changed after it had a place, and before its
/// image had its name, made an image of it that is not there.
#[test]
fn an_image_that_a_checkpoint_is_writing_is_not_missing() {
    let stop: Arc<Stop> = Arc::default();
    let device: Arc<dyn Device> = Arc::new(Stopping { inner: MemoryDevice::new(), stop: stop.clone() });
    ["map", "spare", "wal"].iter().for_each(|directory| device.create_dir(directory).unwrap());
    open::create(&device, UUID, 0, 0).unwrap();
    let bed = Bed::open(device);
    let files = bed.fill(2);
    let _ = bed.create("what the next root is about");
    let ((reached, is_reached), (go, may_go)) = (channel(), channel());
    *stop.lock() = Some((reached, may_go));
    let mut root = bed.volume.ask(|replier| bed.volume.checkpoint(replier));
    std::thread::scope(|scope| {
        // If anything fails it is dropped, and nobody waits any more.
        let go = go;
        scope.spawn(|| bed.runtime.run_idle());
        is_reached.recv().unwrap();
        // The nodes have places, and these are other versions of them.
        let _ = bed.create("what is changed meanwhile");
        let run = bed.scrub(Plan::default());
        assert_eq!((run.state, run.tally), (RunState::Finished, Tally::default()));
        assert!(run.images > 0, "the others are looked at: {run:?}");
        go.send(()).unwrap();
    });
    assert_eq!(bed.runtime.run_until(&mut root), Some(Ok(())));
    assert_eq!(bed.scrub(Plan::default()).tally, Tally::default());
    bed.assert_filled(&files);
}
