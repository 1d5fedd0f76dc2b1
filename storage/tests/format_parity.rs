//! The parity code, computed from `docs/format.md` alone: whoever has only the document can restore an image.
//!
//! Polynomials are interpolated point by point (Lagrange), which is slow and cannot share a mistake with the crate.
#![allow(clippy::unwrap_used, reason = "tests")]

mod museum;

use infmap_storage::limits::{PARITY_ROWS, REGION_SIDE_PX, ROW_BYTES};
use infmap_storage::region::ParityEncoder;

const MODULUS: u32 = 0x1002D;

fn times(a: u16, b: u16) -> u16 {
    let mut product = 0u32;
    for bit in (0..16).rev() {
        product <<= 1;
        if product >> 16 != 0 {
            product ^= MODULUS;
        }
        if b >> bit & 1 == 1 {
            product ^= u32::from(a);
        }
    }
    product as u16
}

/// One over `a`: a to the power 2^16 - 2.
fn inverse(a: u16) -> u16 {
    let mut power = 1;
    for bit in (0..16).rev() {
        power = times(power, power);
        if bit > 0 {
            power = times(power, a);
        }
    }
    power
}

/// The constants of the document.
fn basis() -> Vec<u16> {
    let text = std::fs::read_to_string(museum::path("docs/format.md")).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("<!-- basis: "));
    let line = lines.nth(1).unwrap().trim_matches('`').to_string();
    line.split(' ').map(|word| u16::from_str_radix(word, 16).unwrap()).collect()
}

fn f(basis: &[u16], symbol: u16) -> u16 {
    basis.iter().enumerate().filter(|(bit, _)| symbol >> bit & 1 == 1).fold(0, |sum, (_, constant)| sum ^ constant)
}

/// The value at `x` of the polynomial through the points.
fn interpolate(points: &[(u16, u16)], x: u16) -> u16 {
    points.iter().fold(0, |sum, &(at, value)| {
        let others = points.iter().filter(|(other, _)| *other != at);
        let (over, under) = others.fold((1, 1), |(over, under), (other, _)| (times(over, x ^ other), times(under, at ^ other)));
        sum ^ times(value, times(over, inverse(under)))
    })
}

#[test]
fn the_document_gives_the_parity_of_the_code() {
    let basis = basis();
    assert_eq!(basis.len(), 16);
    let mut seed = 5u64;
    let mut rows = vec![[0u8; ROW_BYTES]; REGION_SIDE_PX];
    for byte in rows.as_flattened_mut() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (seed >> 56) as u8;
    }
    let mut parity = Vec::new();
    ParityEncoder::new().encode(REGION_SIDE_PX, |n| &rows[n], |_, row| parity.push(row.to_vec()));
    for (block, i) in [(0, 0), (0, 31), (63, 17)] {
        let symbol = |row: &[u8]| u16::from_le_bytes([row[64 * block + i], row[64 * block + 32 + i]]);
        let mut sums = vec![0; PARITY_ROWS];
        for c in 0..32 {
            let point = |i: u16| (f(&basis, 32 + 32 * c + i), f(&basis, symbol(&rows[usize::from(32 * c + i)])));
            let points = (0..32).map(point).collect::<Vec<_>>();
            sums.iter_mut().zip(0..).for_each(|(sum, j)| *sum ^= interpolate(&points, f(&basis, j)));
        }
        for (j, sum) in sums.into_iter().enumerate() {
            assert_eq!(f(&basis, symbol(&parity[j])), sum, "row {j}, block {block}, symbol {i}");
        }
    }
}
