//! The Hilbert curve, both ways.
//!
//! Owns: the mapping between a distance along the curve and a cell. Must be true: `cell` and `distance` are inverse, and
//! neighbours on the curve are neighbours in the plane. Fails: never; bits above the order are ignored.
//!
//! The common form ("Wikipedia", after Warren, Hacker's Delight 16): it starts at (0, 0) and ends at (2^order - 1, 0).

/// The cell at `distance` along the curve of `order` (1..=32) over a square of `2^order` cells a side.
#[must_use]
pub fn cell(order: u32, distance: u64) -> (u64, u64) {
    let (mut x, mut y, mut rest) = (0u64, 0u64, distance);
    for level in 0..order {
        let side = 1u64 << level;
        let right = (rest >> 1) & 1;
        let up = (rest ^ right) & 1;
        (x, y) = turn(side, x, y, right, up);
        x += side * right;
        y += side * up;
        rest >>= 2;
    }
    (x, y)
}

/// The distance along the curve of `order` (1..=32) at which it passes the cell. Inverse of [`cell`].
#[must_use]
pub fn distance(order: u32, mut x: u64, mut y: u64) -> u64 {
    let mut distance = 0;
    for level in (0..order).rev() {
        let side = 1u64 << level;
        let right = u64::from(x & side != 0);
        let up = u64::from(y & side != 0);
        distance += side * side * ((3 * right) ^ up);
        (x, y) = turn(side, x & (side - 1), y & (side - 1), right, up);
    }
    distance
}

/// Turns a cell of a quadrant of `side` into that quadrant's own orientation.
fn turn(side: u64, x: u64, y: u64, right: u64, up: u64) -> (u64, u64) {
    match (right, up) {
        (1, 0) => (side - 1 - y, side - 1 - x),
        (0, 0) => (y, x),
        _ => (x, y),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_curves_are_the_published_ones() {
        let curve = |order: u32| (0..1u64 << (2 * order)).map(|d| cell(order, d)).collect::<Vec<_>>();
        assert_eq!(curve(1), [(0, 0), (0, 1), (1, 1), (1, 0)]);
        let second = [
            (0, 0),
            (1, 0),
            (1, 1),
            (0, 1),
            (0, 2),
            (0, 3),
            (1, 3),
            (1, 2),
            (2, 2),
            (2, 3),
            (3, 3),
            (3, 2),
            (3, 1),
            (2, 1),
            (2, 0),
            (3, 0),
        ];
        assert_eq!(curve(2), second);
    }

    proptest! {
        #[test]
        fn the_two_ways_are_inverse(order in 1u32..=32, raw: u64) {
            let d = if order == 32 { raw } else { raw & ((1 << (2 * order)) - 1) };
            let (x, y) = cell(order, d);
            prop_assert_eq!(distance(order, x, y), d);
        }

        #[test]
        fn one_step_on_the_curve_is_one_step_in_the_plane(order in 1u32..=32, raw: u64) {
            let last = if order == 32 { u64::MAX } else { (1 << (2 * order)) - 1 };
            let d = (raw & last).min(last - 1);
            let ((ax, ay), (bx, by)) = (cell(order, d), cell(order, d + 1));
            prop_assert_eq!(ax.abs_diff(bx) + ay.abs_diff(by), 1);
        }
    }
}
