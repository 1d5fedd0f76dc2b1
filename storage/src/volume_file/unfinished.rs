//! What the making of a volume leaves when it is interrupted.
//!
//! Must be true: VOL-3 only what no mount has ever touched is called unfinished: empty directories, and the one segment that a new log
//! has. A mount makes a lock, and begins its own segment; a volume that lost its `volume.yaml` may hold synced bytes in nothing but its
//! log. Fails: with the device's error.

use super::{LOG_DIRECTORY, MAP_DIRECTORY, RUN_DIRECTORY, SPARE_DIRECTORY, VOLUME_FILE};
use crate::device::{Device, DirEntry, Kind, Open};
use crate::wal::segment::{HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader, segment_number, segment_path};
use std::io;

/// The segment, and the epoch, with which a new log begins.
const FIRST: (u64, u32) = (1, 1);

/// Whether the directory holds what was made of a volume before its `volume.yaml`, or a part of that, and nothing else. Not for an empty
/// one.
///
/// # Errors
/// The device's.
pub fn is_unfinished(device: &dyn Device) -> io::Result<bool> {
    let found = device.list("")?;
    for entry in &found {
        let is_ours = match (entry.kind, entry.name.as_str()) {
            (Kind::Directory, MAP_DIRECTORY | SPARE_DIRECTORY | RUN_DIRECTORY) => device.list(&entry.name)?.is_empty(),
            (Kind::Directory, LOG_DIRECTORY) => is_new_log(device, &device.list(LOG_DIRECTORY)?)?,
            (Kind::File, name) => name == in_the_making(),
            _ => false,
        };
        if !is_ours {
            return Ok(false);
        }
    }
    Ok(!found.is_empty())
}

/// Takes away what [`is_unfinished`] has found.
pub(super) fn clear(device: &dyn Device) -> io::Result<()> {
    for entry in device.list("")? {
        if entry.name == LOG_DIRECTORY {
            for segment in device.list(LOG_DIRECTORY)? {
                device.remove(&format!("{LOG_DIRECTORY}/{}", segment.name))?;
            }
        }
        device.remove(&entry.name)?;
    }
    device.sync_dir("")
}

/// The name under which `volume.yaml` is written before it has its own.
fn in_the_making() -> String {
    format!("{VOLUME_FILE}.new")
}

fn is_new_log(device: &dyn Device, files: &[DirEntry]) -> io::Result<bool> {
    let [file] = files else { return Ok(files.is_empty()) };
    if file.kind != Kind::File || segment_number(&file.name) != Some(FIRST.0) {
        return Ok(false);
    }
    let mut block = [0; SEGMENT_HEADER_BYTES];
    let read = device.open(&segment_path(FIRST.0), Open::READ)?.read_at(&mut block, 0)?;
    Ok(match SegmentHeader::decode(block.get(..read).unwrap_or(&block)) {
        Ok(header) => header.epoch == FIRST.1,
        Err(error) => error == HeaderError::NotAHeader,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{VolumeFile, VolumeFileError, create_directories, create_skeleton};
    use super::*;
    use crate::device::MemoryDevice;
    use crate::row::Time;

    fn write(device: &MemoryDevice, path: &str, bytes: &[u8]) {
        device.open(path, Open::CREATE).unwrap().write_at(bytes, 0).unwrap();
    }

    fn header(epoch: u32) -> [u8; SEGMENT_HEADER_BYTES] {
        let first_lsn = crate::wal::Lsn::FIRST;
        SegmentHeader { uuid: [3; 16], epoch, sequence: 1, first_lsn, previous_crc: 0, segment_bytes: 1 << 24 }.encode()
    }

    #[test]
    fn what_an_interrupted_making_left_is_made_anew_at_every_step() {
        let steps: [fn(&MemoryDevice); 5] = [
            |device| device.remove("wal").and_then(|()| device.remove("run")).unwrap(),
            |_| {},
            |device| write(device, &segment_path(1), &[0; 4096]),
            |device| write(device, &segment_path(1), &header(1)),
            |device| write(device, "volume.yaml.new", b"# Infinite"),
        ];
        for (number, step) in steps.into_iter().enumerate() {
            let device = MemoryDevice::new();
            assert!(!is_unfinished(&device).unwrap());
            create_directories(&device).unwrap();
            step(&device);
            assert!(is_unfinished(&device).unwrap(), "step {number}");
            create_skeleton(&device, [4; 16], Time::default()).unwrap();
            assert!(device.list("wal").unwrap().is_empty() && VolumeFile::read(&device).unwrap().uuid == [4; 16], "step {number}");
            assert!(!is_unfinished(&device).unwrap(), "a volume is finished");
        }
    }

    #[test]
    fn what_may_hold_something_is_never_called_unfinished() {
        let more: [fn(&MemoryDevice); 6] = [
            |device| write(device, "lock", b""),
            |device| write(device, "letter.txt", b"mine"),
            |device| device.create_dir("map/0_0").unwrap(),
            |device| write(device, "spare/a.png", b"x"),
            |device| write(device, &segment_path(2), &header(2)),
            |device| write(device, &segment_path(1), &header(2)),
        ];
        for (number, more) in more.into_iter().enumerate() {
            let device = MemoryDevice::new();
            create_directories(&device).unwrap();
            more(&device);
            assert!(!is_unfinished(&device).unwrap(), "case {number}");
            let refused = create_skeleton(&device, [4; 16], Time::default());
            assert!(matches!(refused, Err(VolumeFileError::NotEmpty { .. })), "case {number}");
        }
    }
}
