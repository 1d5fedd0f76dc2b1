//! One image: read piece by piece, judged, and put back as it was written where it is damaged.
//!
//! Must be true: SCN-3 a damaged image is touched only while a lease is held under which it is in use (O8), until the restored file is
//! durable under the name and the descriptor of the damaged one is forgotten; SCN-4 what is called damage belongs to an image that is in
//! use after its bytes were read: dead is for ever, so it was in use while they were. Fails: an image that cannot be put back is left as it
//! is, and what rows use of it is noted.

use super::run::Tally;
use crate::shared::Shared;
use crate::vat::Sight;
use infmap_storage::address::{Place, RegionId};
use infmap_storage::buffer::PooledBuf;
use infmap_storage::clean::is_live;
use infmap_storage::damage::Damage;
use infmap_storage::device::{is_no_file, is_of_medium};
use infmap_storage::refusal::Refusal;
use infmap_storage::region::{Mended, OwnerEntry, OwnerKind, RawRegion, Survey};
use infmap_storage::repair::{Judged, NotPutBack};
use infmap_storage::row::RegionRow;
use infmap_storage::scan::{ImageReading, Lost, lost_rows, next_region};
use infmap_storage::state::{StateError, View};
use infmap_storage::vat::TreeId;
use std::io;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Sound,
    /// It is not in use any more.
    Gone,
    /// It was put back, and this had been lost before it was written.
    Corrected(Lost),
    /// It could be put back, and was not for sure.
    Mendable(Lost),
    Uncorrectable(Lost),
}

impl Outcome {
    /// Counts it. `refused`: the device refused bytes of the image.
    pub fn count(self, tally: &mut Tally, refused: bool) {
        let add = |count: &mut u64, more: u64| *count = count.saturating_add(more);
        let lost = match self {
            Self::Sound | Self::Gone => return,
            Self::Corrected(lost) => {
                add(&mut tally.corrected, 1);
                lost
            }
            Self::Mendable(lost) => {
                add(&mut tally.mendable, 1);
                lost
            }
            Self::Uncorrectable(lost) => lost,
        };
        let is_lost = matches!(self, Self::Uncorrectable(_)) || lost != Lost::default();
        add(&mut tally.uncorrectable, u64::from(is_lost));
        add(&mut tally.lost_ranges, lost.ranges);
        add(&mut tally.lost_nodes, lost.nodes);
        add(&mut tally.unreadable, u64::from(refused));
    }

    /// The same for whoever gathers figures. What is lost of files is counted by the list that notes it.
    pub fn tell(self) {
        if self == Self::Gone {
            return;
        }
        metrics::counter!("infmap_integrity_checked_total", "source" => "scrub").increment(1);
        if self != Self::Sound {
            metrics::counter!("infmap_integrity_errors_total", "source" => "scrub").increment(1);
        }
        if matches!(self, Self::Corrected(_)) {
            metrics::counter!("infmap_integrity_repaired_total", "source" => "scrub").increment(1);
        }
    }
}

/// What is in use, nearest to the place that was asked for: a region, and its row if it has one yet.
///
/// # Errors
/// A node of the volume tree that cannot be used, or a row that is none.
pub(super) fn nearest(shared: &Shared, sight: &Sight, from: Place) -> Result<Option<(RegionId, Option<RegionRow>)>, StateError> {
    // A row without live clusters is of an image that is being written.
    let mut at = from;
    let row = loop {
        match next_region(&sight.volume, &shared.nodes.loading(TreeId::Volume), at)? {
            Some((region, row)) if row.live.is_empty() && sight.fresh.is_none_or(|fresh| fresh.place > region.place) => {
                let Some(next) = region.place.0.checked_add(1) else { break None };
                at = Place(next);
            }
            found => break found,
        }
    };
    Ok(match (row, sight.fresh) {
        (Some((region, row)), Some(fresh)) if region.place <= fresh.place => Some((region, Some(row))),
        (_, Some(fresh)) => Some((fresh, None)),
        (row, None) => row.map(|(region, row)| (region, Some(row))),
    })
}

/// An image that is being looked at.
pub(super) struct Look {
    pub region: RegionId,
    row: Option<RegionRow>,
    reading: io::Result<ImageReading>,
    buffer: PooledBuf,
}

impl Look {
    pub fn begin(shared: &Shared, region: RegionId, row: Option<RegionRow>) -> Self {
        let reading = ImageReading::open(shared.device.as_ref(), region);
        Self { region, row, reading, buffer: shared.image_buffers.take() }
    }

    /// Reads one piece. Returns its bytes.
    pub fn read_next(&mut self) -> usize {
        match &mut self.reading {
            Ok(reading) => reading.read_next(&mut self.buffer, PIECE_BYTES),
            Err(_) => 0,
        }
    }

    pub fn has_more(&self) -> bool {
        self.reading.as_ref().is_ok_and(ImageReading::has_more)
    }

    /// Bytes of the file.
    pub fn size_bytes(&self) -> u64 {
        self.reading.as_ref().map_or(0, ImageReading::size_bytes)
    }

    /// Whether the device refused bytes of it.
    pub fn is_refused(&self) -> bool {
        match &self.reading {
            Ok(reading) => reading.is_refused(),
            Err(error) => !is_no_file(error),
        }
    }

    fn survey(&self) -> Option<Survey> {
        Some(RawRegion::new(self.reading.as_ref().ok()?.bytes(&self.buffer)).survey())
    }

    /// Whether the row of the region says the same kind.
    fn is_of_kind(&self, survey: &Survey) -> bool {
        survey.identity.is_some_and(|is| self.row.as_ref().is_none_or(|row| row.kind == is.kind))
    }

    /// Whether there is nothing more to say of it: it is as it was written, and all of it can be verified.
    pub fn is_sound(&self, shared: &Shared) -> bool {
        let Some(survey) = self.survey() else { return false };
        let is_it = survey.identity.is_some_and(|is| is.region == self.region && is.volume == shared.uuid);
        let is_whole = self.reading.as_ref().is_ok_and(ImageReading::is_whole);
        survey.is_sound() && is_whole && is_it && self.is_of_kind(&survey) && survey.poisoned.is_empty()
    }

    /// Puts it right, or says what is lost, and has each range of a file noted. `sight` was taken after it was read.
    ///
    /// # Errors
    /// Why nothing can be said: the tables do not say whether it is in use, or this program gets no file open.
    pub fn settle(&self, shared: &Shared, sight: &Sight, note: &mut dyn FnMut(Damage)) -> Result<Outcome, Blind> {
        let found = nearest(shared, sight, self.region.place).map_err(|error| Blind::of_tables(shared, &error))?;
        let is_in_use = found.is_some_and(|(region, _)| region == self.region);
        if !is_in_use {
            return Ok(Outcome::Gone);
        }
        let region = self.region;
        let reading = match &self.reading {
            Ok(reading) => reading,
            Err(error) if !is_loss(error) => {
                return Err(Blind { why: format!("{} cannot be opened: {error}", region.path()), are_tables_lost: false });
            }
            Err(error) => {
                tracing::error!(%region, %error, "an image that is in use cannot be opened: `infmap check` says who used it");
                return Ok(Outcome::Uncorrectable(Lost { is_unknown: true, ..Lost::default() }));
            }
        };
        let bytes = reading.bytes(&self.buffer);
        let why = match shared.images.judge(bytes, reading.is_whole(), shared.uuid, region) {
            Judged::Mendable(mended) => {
                let is_back = put_back(shared, region, &mended);
                // What was lost before it was written there is lost still.
                let lost = self.note_lost(shared, None, mended.bytes(), note);
                return Ok(if is_back { Outcome::Corrected(lost) } else { Outcome::Mendable(lost) });
            }
            Judged::Sound => None,
            Judged::Misplaced => Some("the file is another image".into()),
            Judged::Lost(error) => Some(error.to_string()),
        };
        let lost = self.note_lost(shared, Some(reading), bytes, note);
        let why = match why {
            Some(why) => why,
            None if self.survey().is_some_and(|survey| self.is_of_kind(&survey)) => {
                if lost == Lost::default() {
                    // Nobody uses any more what was lost before it was written there.
                    return Ok(Outcome::Sound);
                }
                "bytes of it were lost before they were written there".into()
            }
            None => "its row says another kind".into(),
        };
        let Lost { ranges, nodes, is_unknown } = lost;
        tracing::error!(%region, why, ranges, nodes, is_unknown, "an image is damaged and cannot be put back as it was");
        Ok(Outcome::Uncorrectable(lost))
    }

    /// Notes what rows use of it that is lost, as far as the tables say who uses it.
    fn note_lost(&self, shared: &Shared, reading: Option<&ImageReading>, bytes: &[u8], note: &mut dyn FnMut(Damage)) -> Lost {
        let lease = shared.published.load_full();
        let source = shared.names();
        let (view, live) = (View::new(&lease.names, &source), self.row.as_ref().map(|row| &row.live));
        // Of extents the rows say it, also of those that are not folded yet.
        let is_live = |entry: &OwnerEntry| entry.owner.kind == OwnerKind::Extent || live.is_none_or(|live| is_live(live, entry.first));
        lost_rows(view, self.region, bytes, reading, is_live, note).unwrap_or_else(|error| {
            let _ = shared.refuse(&error);
            Lost { is_unknown: true, ..Lost::default() }
        })
    }
}

/// Why it cannot be said what is in use, or what became of an image.
pub(super) struct Blind {
    pub why: String,
    /// Bytes of the tables are lost.
    pub are_tables_lost: bool,
}

impl Blind {
    /// The tables do not say it.
    pub fn of_tables(shared: &Shared, error: &StateError) -> Self {
        Self::refused(shared.refuse(error))
    }

    /// The Vat does not say it.
    pub fn refused(refusal: Refusal) -> Self {
        Self { why: format!("the tables cannot be read: {refusal}"), are_tables_lost: refusal == Refusal::Damaged }
    }
}

/// Whether a file that cannot be opened is lost: there is none, or the medium does not give it. Else this program had no descriptor or no
/// memory for it, or not the right.
fn is_loss(error: &io::Error) -> bool {
    // A device that is none of the host's says no number.
    is_no_file(error) || is_of_medium(error) || matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Other)
}

/// Whether the restored file has the name, and will have it. The caller holds a lease under which the image is in use.
fn put_back(shared: &Shared, region: RegionId, mended: &Mended) -> bool {
    let rows = mended.rows().len();
    if shared.health.is_read_only() {
        tracing::warn!(%region, rows, "an image is damaged and could be put back; nothing is changed, because the volume is read-only");
        return false;
    }
    let done = shared.spares.put_back(shared.device.as_ref(), region, mended);
    // Whatever became of it: from here on the file that has the name is read.
    shared.images.forget(region);
    match done {
        Ok(()) => {
            tracing::warn!(%region, rows, "an image was damaged; it was put back as it was written");
            // Whatever was noted of it; what is lost still is noted anew.
            shared.damage.mended(region);
            true
        }
        Err(NotPutBack::Before(error)) => {
            tracing::error!(%region, %error, "an image is damaged, and what it was could not be written");
            false
        }
        Err(error @ NotPutBack::After(_)) => {
            shared.health.fail(format!("the image {region} was damaged and was put back: {error}"));
            false
        }
    }
}
