//! Bytes that are lost for good: exactly they give EIO, they are listed with the names of their files, and all else goes on.
//!
//! Must be true: what reading refuses, what `infmap damage ls` lists and what `infmap check` lists are the same blocks, by every name of
//! each file; a test that damaged nothing fails. Needs root and /dev/fuse; where those are missing each test says so and ends.

mod common;
#[path = "damage/sample.rs"]
mod sample;

use common::Numbers;
use sample::{BLOCK, Blocks, Sample};

/// Damages the largest images beyond parity; returns what is lost by the word of `check`. There is something of every kind.
fn break_for_good(sample: &Sample, seed: u64) -> Blocks {
    let mut numbers = Numbers(seed);
    for image in sample.images().iter().take(2) {
        sample.damage(image, 60, &mut numbers);
    }
    let lost = sample.checked();
    for kind in ["raw", "deep/text", "deep/link"] {
        assert!(lost.iter().any(|(path, _)| path.starts_with(kind)), "nothing is lost of {kind}");
    }
    lost
}

#[test]
fn exactly_the_lost_blocks_give_eio_and_are_listed_by_every_name() {
    let Some(sample) = Sample::if_mountable(1) else { return };
    let lost = break_for_good(&sample, 2);
    let mut mount = sample.volume.mount();
    assert!(sample.listed(mount.dir()).is_empty(), "nobody has met it yet");
    assert_eq!(sample.refused(&mount), lost);
    assert_eq!(sample.listed(mount.dir()), lost);
    assert_eq!(sample.listed(&sample.volume.path()), lost, "by the volume's own path");
    mount.terminate();
    assert!(mount.join().success());
    assert_eq!(sample.listed(&sample.volume.path()), lost, "from the file");
    let mount = sample.volume.mount();
    assert_eq!(sample.listed(mount.dir()), lost, "the next mount knows it before anything is read");
    assert_eq!(sample.refused(&mount), lost);
    mount.unmount();
    assert_eq!(sample.checked(), lost);
    let _ = BLOCK;
}
