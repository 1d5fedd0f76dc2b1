//! Logs that are right, wrong, and hostile.

use super::*;
use proptest::prelude::*;

fn profile(text: &str) -> Report {
    let mut profile = Profile::default();
    profile.read(&mut text.as_bytes()).expect("read");
    profile.report(3)
}

#[test]
fn what_a_log_says_is_counted_by_kind_inode_size_and_order() {
    let mut text = format!("{ACCESS_HEAD}\n");
    for number in 0..10_u64 {
        text += &format!("{} read 7 {} 4096 ok {}\n", 1_000_000 + number * 1000, number * 4096, 10 * (number + 1));
    }
    text += "1010000 read 8 0 131072 ok 1000\n1011000 read 8 0 5000 EIO 40\n1012000 write 7 0 100 ok 5\n1013000 write 7 500 100 ok 5\n";
    text += "1014000 lookup 1 0 0 ENOENT 3\n1015000 lookup 1 0 0 ok 3\n# dropped 12\nnonsense\n";
    let report = profile(&text);
    assert_eq!((report.requests, report.bad_lines, report.dropped, report.inode_count), (16, 1, 12, 3));
    assert!((report.seconds - 0.015_003).abs() < 1e-9);
    let names: Vec<&str> = report.ops.iter().map(|op| op.op.as_str()).collect();
    assert_eq!(names, ["read", "write", "lookup"]);
    let read = &report.ops[0];
    assert_eq!((read.count, read.bytes, read.total_us, read.max_us), (12, 10 * 4096 + 131_072, 1590, 1000));
    assert_eq!((read.errors["EIO"], report.ops[2].errors["ENOENT"], read.p50_us), (1, 1, 51));
    assert!((read.share - 1590.0 / 1606.0).abs() < 1e-9);
    assert_eq!((report.reads.count, report.reads.sequential, report.writes.sequential), (11, Some(1.0), Some(0.0)));
    let sizes: Vec<_> = report.reads.sizes.iter().map(|size| (size.bytes, size.count)).collect();
    assert_eq!(sizes, [(4096, 10), (131_072, 1)]);
    assert_eq!((report.inodes[0].inode, report.inodes[1].inode, report.inodes[1].requests), (Some(8), Some(7), 12));
}

#[test]
fn a_line_that_is_none_is_counted_and_passed_over() {
    let good = "5 read 1 2 3 ok 4\n";
    let long = "x".repeat(1000);
    let bad = [
        "",
        "read",
        "5 read 1 2 3 ok",
        "5 read 1 2 3 ok 4 5",
        "5 READ 1 2 3 ok 4",
        "-5 read 1 2 3 ok 4",
        "5  read 1 2 3 ok 4",
        "5 read 1 2 3 o/k 4",
        "99999999999999999999 read 1 2 3 ok 4",
        "# dropped many",
        "\u{7f}",
        &long,
    ];
    for line in bad {
        let report = profile(&format!("{good}{line}\n{good}"));
        assert_eq!((report.requests, report.bad_lines), (2, 1), "{line}");
    }
    let mut torn = Profile::default();
    torn.read(&mut [b'\xff', b'\n', b'5', b' '].as_slice()).expect("read");
    assert_eq!((torn.report(1).requests, torn.report(1).bad_lines), (0, 2));
    assert_eq!(profile("").requests, 0);
}

#[test]
fn kinds_that_nobody_knows_take_no_memory() {
    let name = |number: u32| char::from(b'a' + (number % 26) as u8).to_string() + &"b".repeat(number as usize / 26);
    let text: String = (0..300).map(|number| format!("1 {} 1 0 0 E{number} 1\n", name(number))).collect();
    let report = profile(&text);
    assert_eq!((report.requests, report.bad_lines, report.ops.len()), (300, 0, OPS_MAX + 1));
}

proptest! {
    #[test]
    fn no_file_is_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut profile = Profile::default();
        profile.read(&mut bytes.as_slice()).expect("read");
        let _ = profile.report(10);
    }

    #[test]
    fn numbers_of_any_size_are_counted(numbers in proptest::collection::vec(any::<[u64; 5]>(), 0..50)) {
        let lines = |[at, inode, offset, size, took]: &[u64; 5]| format!("{at} write {inode} {offset} {size} ok {took}\n");
        let report = profile(&numbers.iter().map(lines).collect::<String>());
        prop_assert_eq!((report.requests, report.bad_lines), (numbers.len() as u64, 0));
    }
}
