//! Logged data that a size never covered.

use super::LoggedData;
use crate::row::Inode;
use crate::state::change::Change;

#[test]
fn bytes_behind_the_size_are_dropped_and_those_before_it_stay() {
    let mut data = LoggedData::default();
    for offset in [0, 4096, 8192] {
        data.note(&Change::Data { inode: Inode(7), offset, sequence: 3, bytes: &[9; 4096] }).unwrap();
    }
    data.note(&Change::Data { inode: Inode(8), offset: 0, sequence: 1, bytes: &[5; 4096] }).unwrap();
    assert_eq!(data.inodes(), [Inode(7), Inode(8)]);
    assert!(!data.trim(Inode(7), 12_288) && data.trim(Inode(7), 5000) && !data.trim(Inode(7), 5000));
    let block = data.block(Inode(7), 1).unwrap();
    assert!(block[..904] == [9; 904] && block[904..].iter().all(|&byte| byte == 0));
    assert!(data.block(Inode(7), 2).is_none() && data.block(Inode(7), 0) == Some(&[9; 4096][..]) && data.block(Inode(8), 0).is_some());
}
