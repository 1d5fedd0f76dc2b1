//! The map as a picture for people: each region a block of 32 x 32 clusters, with a legend below.
//!
//! Owns: `MapPicture`. Cluster n of a region stands at `hilbert::cell(5, n)` of its block, x to the right and y downwards; blocks stand
//! as their places do on the map, a line of background between them. Must be true: PIC-1 every cluster is `scale` x `scale` pixels of
//! its class's colour, no others have that colour in the map's part. Fails: `None` above `PICTURE_MAX_BYTES`.
//!
//! The colours are those of Okabe and Ito ("Color universal design", 2008), which eyes without red, green or blue cones tell apart, on
//! a dark ground; they differ in lightness too.

use super::{Bounds, ClusterClass, MapView, font};
use crate::address::MapCell;
use crate::hilbert;
use crate::limits::REGION_CLUSTERS;

/// Clusters on a side of a region's block.
const SIDE: usize = 32;
const CURVE_ORDER: u32 = 5;
/// Pixels that the short side of the map has at least.
const SHORT_SIDE_PX: usize = 512;
const SCALE_MAX: usize = 16;
/// Bytes of a picture at most.
pub const PICTURE_MAX_BYTES: usize = 1 << 30;

/// An RGBA colour.
pub type Rgba = [u8; 4];

pub(super) const GROUND: Rgba = [12, 14, 20, 255];
const INK: Rgba = [214, 218, 226, 255];

const _: () = assert!(SIDE * SIDE == REGION_CLUSTERS && SIDE == 1 << CURVE_ORDER);

impl ClusterClass {
    /// The colour of this class in a picture.
    #[must_use]
    pub const fn colour(self) -> Rgba {
        match self {
            Self::Free => [38, 43, 56, 255],
            Self::Data => [86, 180, 233, 255],
            Self::Vat => [240, 228, 66, 255],
            Self::Dead => [110, 84, 120, 255],
            Self::Damaged => [213, 94, 0, 255],
        }
    }

    /// Its name in the legend.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Free => "FREE",
            Self::Data => "DATA",
            Self::Vat => "VAT",
            Self::Dead => "DEAD",
            Self::Damaged => "DAMAGED",
        }
    }
}

/// Pixels row by row from the top left, four bytes each: red, green, blue, alpha.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapPicture {
    pub width: usize,
    pub height: usize,
    /// `width * height * 4` bytes.
    pub rgba: Vec<u8>,
    /// Pixels of a cluster across and down.
    pub scale: usize,
    /// Pixels of the map's part from the top; the legend is below.
    pub map_height: usize,
}

impl MapPicture {
    /// Draws a map. `None` if it has no regions, or the picture would be above [`PICTURE_MAX_BYTES`].
    #[must_use]
    pub fn draw(view: &MapView) -> Option<Self> {
        let bounds = view.bounds?;
        let cells = (usize::try_from(bounds.width()).ok()?, usize::try_from(bounds.height()).ok()?);
        let short = cells.0.min(cells.1).checked_mul(SIDE)?;
        let scale = SHORT_SIDE_PX.div_ceil(short).clamp(1, SCALE_MAX);
        let gap = if scale > 1 { 2 } else { 1 };
        let pitch = SIDE * scale + gap;
        let (width, map_height) = (cells.0.checked_mul(pitch)?.checked_add(gap)?, cells.1.checked_mul(pitch)?.checked_add(gap)?);
        let legend = Legend::of(view, width);
        let height = map_height.checked_add(legend.height())?;
        let bytes = width.checked_mul(height)?.checked_mul(4).filter(|bytes| *bytes <= PICTURE_MAX_BYTES)?;
        let mut rgba = Vec::with_capacity(bytes);
        (0..width * height).for_each(|_| rgba.extend_from_slice(&GROUND));
        let mut picture = Self { width, height, rgba, scale, map_height };
        let spots: Vec<(usize, usize)> = (0..REGION_CLUSTERS as u64)
            .map(|n| hilbert::cell(CURVE_ORDER, n))
            .map(|(x, y)| (x as usize * scale, y as usize * scale))
            .collect();
        for region in &view.regions {
            let (left, top) = origin(&bounds, region.cell, pitch, gap);
            for (class, (x, y)) in region.classes.iter().zip(&spots) {
                picture.fill(left + x, top + y, scale, scale, class.colour());
            }
        }
        legend.draw(&mut picture);
        Some(picture)
    }

    /// The colour of a pixel, if it is in the picture.
    #[must_use]
    pub fn pixel(&self, x: usize, y: usize) -> Option<Rgba> {
        let at = (x < self.width && y < self.height).then(|| (y * self.width + x) * 4)?;
        self.rgba.get(at..)?.first_chunk().copied()
    }

    fn fill(&mut self, left: usize, top: usize, width: usize, height: usize, colour: Rgba) {
        let right = (left + width).min(self.width);
        for y in top..(top + height).min(self.height) {
            if let Some(row) = self.rgba.get_mut((y * self.width + left.min(right)) * 4..(y * self.width + right) * 4) {
                row.chunks_exact_mut(4).for_each(|pixel| pixel.copy_from_slice(&colour));
            }
        }
    }

    fn text(&mut self, left: usize, top: usize, size: usize, text: &str) {
        for (n, letter) in text.chars().enumerate() {
            for (y, row) in font::rows(letter).into_iter().enumerate() {
                for x in (0..font::WIDTH).filter(|x| row >> (font::WIDTH - 1 - x) & 1 == 1) {
                    self.fill(left + (n * font::ADVANCE + x) * size, top + y * size, size, size, INK);
                }
            }
        }
    }
}

/// The top left pixel of the block of a cell.
pub(super) fn origin(bounds: &Bounds, cell: MapCell, pitch: usize, gap: usize) -> (usize, usize) {
    let (x, y) = (cell.x.abs_diff(bounds.least.x) as usize, cell.y.abs_diff(bounds.least.y) as usize);
    (gap + x * pitch, gap + y * pitch)
}

/// Classes with their counts, in as many lines as the width asks for.
struct Legend {
    /// Top left pixel of each entry below the map.
    entries: Vec<(usize, usize, ClusterClass, String)>,
    lines: usize,
}

const TEXT_SIZE: usize = 2;
const LINE_PX: usize = font::HEIGHT * TEXT_SIZE + 12;
const MARGIN_PX: usize = 10;

impl Legend {
    fn of(view: &MapView, width: usize) -> Self {
        let (mut entries, mut x, mut lines) = (Vec::new(), MARGIN_PX, 0);
        for (class, count) in ClusterClass::ALL.into_iter().zip(view.counts()) {
            let text = format!("{} {count}", class.label());
            let needs = LINE_PX + (text.len() + 2) * font::ADVANCE * TEXT_SIZE;
            if x > MARGIN_PX && x + needs > width {
                (x, lines) = (MARGIN_PX, lines + 1);
            }
            entries.push((x, lines, class, text));
            x += needs;
        }
        Self { entries, lines: lines + 1 }
    }

    fn height(&self) -> usize {
        self.lines * LINE_PX + 2 * MARGIN_PX
    }

    fn draw(&self, picture: &mut MapPicture) {
        for (x, line, class, text) in &self.entries {
            let top = picture.map_height + MARGIN_PX + line * LINE_PX;
            picture.fill(*x, top, font::HEIGHT * TEXT_SIZE, font::HEIGHT * TEXT_SIZE, class.colour());
            picture.text(x + font::HEIGHT * TEXT_SIZE + 8, top, TEXT_SIZE, text);
        }
    }
}
