//! What a checkpoint waits for, when a file is changed while it waits.

use super::*;

#[test]
fn a_checkpoint_waits_neither_for_old_content_nor_for_what_a_writer_keeps() {
    let (pool, mut buffer) = (BlockPool::new(1), FileBuffer::new(&InodeRow { size: 3 * BLOCK, version: 5, ..new_row() }));
    buffer.fill(1, pool.holding(0, b"old"));
    buffer.begin_drain();
    assert!(buffer.is_drained(), "nothing of it is in the log alone");
    buffer.write_block(&pool, 1, 0, WritePiece::Part(b"new"));
    buffer.wrote(4099, None);
    assert!(buffer.is_drained());
    buffer.begin_drain();
    assert!(!buffer.is_drained());
    // Changed while it was placed, and placed again: the second writer may keep it for long.
    buffer.take_for_placing(u64::MAX);
    buffer.write_block(&pool, 1, 0, WritePiece::Part(b"newer"));
    buffer.wrote(4101, None);
    buffer.take_for_placing(u64::MAX);
    assert_eq!(buffer.take_for_drain(u64::MAX).len(), 1);
    assert!(buffer.is_drained() && buffer.end_drain() && !buffer.is_draining());
}

#[test]
fn a_checkpoint_claims_the_size_of_its_beginning_although_a_hole_is_filled_meanwhile() {
    let (pool, mut buffer) = (BlockPool::new(1), FileBuffer::new(&new_row()));
    write(&mut buffer, &pool, 0, 1);
    write(&mut buffer, &pool, 5, 1);
    buffer.begin_drain();
    let (placing, runs) = buffer.take_for_placing(u64::MAX);
    write(&mut buffer, &pool, 3, 2);
    write(&mut buffer, &pool, 7, 2);
    for run in runs {
        let settling = buffer.ticket();
        buffer.placed(placing, &[PlacedExtent { offset: run.offset, row: extent_row(0, 1), sequences: run.sequences }], settling);
        assert_eq!(buffer.settlement().size, 3 * BLOCK, "block 3 is neither placed nor logged");
        buffer.settled(settling);
    }
    assert!(!buffer.is_drained(), "the row does not say the size that is promised");
    let logged = buffer.take_for_drain(u64::MAX);
    assert_eq!(logged.iter().map(|run| run.offset / BLOCK).collect::<Vec<_>>(), [3], "block 7 was behind the end");
    assert_eq!(buffer.settlement().size, 7 * BLOCK);
    assert!(buffer.is_drained());
}

#[test]
fn a_checkpoint_does_not_wait_for_a_size_that_was_cut() {
    let (pool, mut buffer) = (BlockPool::new(1), FileBuffer::new(&new_row()));
    write(&mut buffer, &pool, 5, 1);
    buffer.begin_drain();
    buffer.truncate(100, time(1));
    buffer.settlement();
    write(&mut buffer, &pool, 5, 1);
    assert!(buffer.is_drained());
}

#[test]
fn old_content_that_was_read_for_a_write_does_not_hold_the_size_back() {
    let (pool, mut buffer) = (BlockPool::new(1), FileBuffer::new(&new_row()));
    write(&mut buffer, &pool, 5, 1);
    buffer.take_for_log(u64::MAX);
    buffer.fill(3, pool.holding(0, &[0; 4096]));
    assert_eq!(buffer.settlement().size, 6 * BLOCK);
}

#[test]
fn a_refusal_that_comes_before_a_checkpoint_does_not_make_it_wait_for_ever() {
    let (pool, mut buffer) = (BlockPool::new(1), FileBuffer::new(&new_row()));
    buffer.write_block(&pool, 0, 0, WritePiece::Part(b"seven"));
    buffer.wrote(5, None);
    let (refused, published) = (buffer.ticket(), buffer.ticket());
    buffer.take_inline(published).unwrap();
    assert_eq!(buffer.settlement().size, 5);
    buffer.refused(refused);
    buffer.begin_drain();
    assert_eq!((buffer.settled(published), buffer.is_drained(), buffer.must_speak_to_drain()), (1, false, true));
    assert_eq!((buffer.settlement().size, buffer.is_drained(), buffer.must_speak_to_drain()), (5, true, false));
}
