//! A font of 5 x 7 pixels for the legend: digits, capital letters, and a few signs.
//!
//! Must be true: a letter is seven rows of five bits, the highest bit on the left. Fails: what it does not know is a blank.

/// Pixels of a letter across, without the gap behind it.
pub(super) const WIDTH: usize = 5;
/// Pixels of a letter down.
pub(super) const HEIGHT: usize = 7;
/// Pixels from one letter to the next.
pub(super) const ADVANCE: usize = WIDTH + 1;

const DIGITS: [[u8; HEIGHT]; 10] = [
    [14, 17, 19, 21, 25, 17, 14],
    [4, 12, 4, 4, 4, 4, 14],
    [14, 17, 1, 2, 4, 8, 31],
    [31, 2, 4, 2, 1, 17, 14],
    [2, 6, 10, 18, 31, 2, 2],
    [31, 16, 30, 1, 1, 17, 14],
    [6, 8, 16, 30, 17, 17, 14],
    [31, 1, 2, 4, 8, 8, 8],
    [14, 17, 17, 14, 17, 17, 14],
    [14, 17, 17, 15, 1, 2, 12],
];
const LETTERS: [[u8; HEIGHT]; 26] = [
    [14, 17, 17, 31, 17, 17, 17],
    [30, 17, 17, 30, 17, 17, 30],
    [14, 17, 16, 16, 16, 17, 14],
    [28, 18, 17, 17, 17, 18, 28],
    [31, 16, 16, 30, 16, 16, 31],
    [31, 16, 16, 30, 16, 16, 16],
    [14, 17, 16, 23, 17, 17, 15],
    [17, 17, 17, 31, 17, 17, 17],
    [14, 4, 4, 4, 4, 4, 14],
    [7, 2, 2, 2, 2, 18, 12],
    [17, 18, 20, 24, 20, 18, 17],
    [16, 16, 16, 16, 16, 16, 31],
    [17, 27, 21, 21, 17, 17, 17],
    [17, 17, 25, 21, 19, 17, 17],
    [14, 17, 17, 17, 17, 17, 14],
    [30, 17, 17, 30, 16, 16, 16],
    [14, 17, 17, 17, 21, 18, 13],
    [30, 17, 17, 30, 20, 18, 17],
    [15, 16, 16, 14, 1, 1, 30],
    [31, 4, 4, 4, 4, 4, 4],
    [17, 17, 17, 17, 17, 17, 14],
    [17, 17, 17, 17, 17, 10, 4],
    [17, 17, 17, 21, 21, 21, 10],
    [17, 17, 10, 4, 10, 17, 17],
    [17, 17, 17, 10, 4, 4, 4],
    [31, 1, 2, 4, 8, 16, 31],
];

/// The rows of a letter; small letters are shown as capitals.
pub(super) fn rows(letter: char) -> [u8; HEIGHT] {
    let letter = letter.to_ascii_uppercase();
    let of = |table: &[[u8; HEIGHT]], first: char| table.get((letter as usize).checked_sub(first as usize)?).copied();
    match letter {
        '0'..='9' => of(&DIGITS, '0').unwrap_or_default(),
        'A'..='Z' => of(&LETTERS, 'A').unwrap_or_default(),
        '.' => [0, 0, 0, 0, 0, 12, 12],
        ',' => [0, 0, 0, 0, 12, 4, 8],
        ':' => [0, 12, 12, 0, 12, 12, 0],
        '-' => [0, 0, 0, 31, 0, 0, 0],
        '/' => [0, 1, 2, 4, 8, 16, 0],
        '%' => [24, 25, 2, 4, 8, 19, 3],
        '(' => [2, 4, 8, 8, 8, 4, 2],
        ')' => [8, 4, 2, 2, 2, 4, 8],
        _ => [0; HEIGHT],
    }
}
