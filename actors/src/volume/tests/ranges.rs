//! Ranges of files: punched, made zero, cut and looked for, against bytes that a vector holds.

use super::*;
use crate::api::{ClearHow, ClearRange, SeekWhat};

const BLOCK: u64 = 4096;

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

impl Bed {
    fn clear(&self, file: Inode, offset: u64, length: u64, how: ClearHow) -> Answer<()> {
        let range = ClearRange { offset, length, how, clear_privileges: false };
        self.ask(|volume, replier| volume.clear(file, range, replier))
    }

    fn truncate(&self, file: Inode, size: u64) {
        let change = AttributeChange { size: Some(size), ..AttributeChange::default() };
        assert_eq!(self.ask(|volume, replier| volume.change_attributes(file, change, replier)).unwrap().size, size);
    }

    fn checkpoint(&self) {
        assert_eq!(self.ask(|volume, replier| volume.checkpoint(replier)), Ok(()));
    }

    fn sync(&self, file: Inode) -> Answer<()> {
        self.ask(|volume, replier| volume.sync(file, false, replier))
    }

    fn seek(&self, file: Inode, offset: u64, what: SeekWhat) -> Option<u64> {
        match self.ask(|volume, replier| volume.seek(file, offset, what, replier)) {
            Ok(found) => Some(found),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::NoData);
                None
            }
        }
    }

    /// Requires the file to be `model`, and its holes to be where nothing but zeros is, at whole blocks.
    fn judge(&self, file: Inode, model: &[u8], when: &str) {
        let size = model.len() as u64;
        assert_eq!(self.size(file), size, "{when}");
        assert!(self.read(file, 0, model.len() as u32 + 9) == model, "{when}: other bytes");
        let is_zero = |from: u64, to: u64| model[from as usize..to as usize].iter().all(|byte| *byte == 0);
        let mut at = 0;
        while at < size {
            let data = self.seek(file, at, SeekWhat::Data).unwrap_or(size);
            assert!(is_zero(at, data), "{when}: data between {at} and {data} is called a hole");
            if data == size {
                break;
            }
            let hole = self.seek(file, data, SeekWhat::Hole).expect("the end is one");
            assert!(hole > data && (hole == size || hole.is_multiple_of(BLOCK)), "{when}: a hole at {hole}, data at {data}, {size} bytes");
            at = hole;
        }
    }
}

#[test]
fn files_with_ranges_cut_out_are_what_a_model_says_and_so_are_their_holes() {
    for seed in 0..30 {
        let mut dice = Dice(seed);
        let largest = [5_000, 60_000, 700_000][seed as usize % 3];
        let mut bed = Bed::open(new_device());
        let file = bed.create("file");
        let mut model: Vec<u8> = Vec::new();
        for step in 0..60 {
            let (offset, length) = (dice.below(largest), 1 + dice.below(largest / 3));
            let end = (offset + length) as usize;
            let kind = dice.below(11);
            match kind {
                0..=3 => {
                    let bytes = noise(seed << 8 | step, length as usize);
                    bed.write(file, offset, &bytes);
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].copy_from_slice(&bytes);
                }
                4 | 5 => {
                    assert_eq!(bed.clear(file, offset, length, ClearHow::Punch), Ok(()));
                    let end = end.min(model.len());
                    model.get_mut(offset as usize..end).unwrap_or_default().fill(0);
                }
                6 => {
                    let keep_size = step % 2 == 0;
                    assert_eq!(bed.clear(file, offset, length, ClearHow::Zero { keep_size }), Ok(()));
                    model.resize(if keep_size { model.len() } else { model.len().max(end) }, 0);
                    let end = end.min(model.len());
                    model.get_mut(offset as usize..end).unwrap_or_default().fill(0);
                }
                7 => {
                    bed.truncate(file, offset);
                    model.resize(offset as usize, 0);
                }
                8 => bed.checkpoint(),
                9 => assert_eq!(bed.sync(file), Ok(())),
                _ => bed = bed.reopen(true),
            }
            bed.judge(file, &model, &format!("seed {seed}, step {step} of kind {kind}"));
        }
        bed.checkpoint();
        bed.judge(file, &model, &format!("seed {seed}, placed"));
    }
}

#[test]
fn a_thousand_punches_of_a_byte_leave_a_file_that_can_be_written_and_made_durable() {
    let bed = Bed::open(new_device());
    let file = bed.create("file");
    let mut model = noise(3, 300_000);
    bed.write(file, 0, &model);
    bed.checkpoint();
    let blocks = bed.ask(|volume, replier| volume.attributes(file, replier)).unwrap().blocks;
    for n in 0..1_100 {
        assert_eq!(bed.clear(file, 2 * n, 1, ClearHow::Punch), Ok(()));
        model[2 * n as usize] = 0;
    }
    bed.write(file, 0, &[7; 4096]);
    model[..4096].fill(7);
    assert_eq!(bed.sync(file), Ok(()));
    bed.checkpoint();
    bed.judge(file, &model, "placed again");
    assert_eq!(bed.ask(|volume, replier| volume.attributes(file, replier)).unwrap().blocks, blocks);
    assert!(!bed.volume.shared().health.is_read_only());
    // So small that it is kept in the tree.
    for n in 0..300 {
        assert_eq!(bed.clear(file, 3 * n, 1, ClearHow::Punch), Ok(()));
        model[3 * n as usize] = 0;
    }
    bed.truncate(file, 1_500);
    model.truncate(1_500);
    bed.write(file, 1_000, &[9]);
    model[1_000] = 9;
    assert_eq!(bed.sync(file), Ok(()));
    bed.judge(file, &model, "in the tree");
    bed.reopen(false).judge(file, &model, "after another mount");
}

#[test]
fn a_small_file_made_long_is_a_hole_behind_its_content() {
    let bed = Bed::open(new_device());
    let file = bed.create("file");
    bed.write(file, 0, b"hi");
    bed.checkpoint();
    bed.truncate(file, 1 << 40);
    bed.checkpoint();
    assert_eq!((bed.seek(file, 0, SeekWhat::Data), bed.seek(file, 0, SeekWhat::Hole)), (Some(0), Some(BLOCK)));
    assert_eq!(bed.seek(file, BLOCK, SeekWhat::Data), None);
}
