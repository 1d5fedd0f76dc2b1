//! What the Vat does for the scanner: says what is in use from a place on.
//!
//! Must be true: O8 an image that is in use when this is answered, by a row of the volume tree or by references that are not folded yet, is
//! dead in no root that is frozen: it becomes dead, if it does, behind a fence above the lease that is answered here, and is not taken away
//! while that is held. Fails: never; the scanner reads the rows, and meets what cannot be read.

use super::Vat;
use crate::api::Answer;
use crate::replier::Replier;
use crate::shared::Published;
use crate::slot::Context;
use infmap_storage::address::{Place, RegionId};
use infmap_storage::vat::Tree;
use std::sync::Arc;

/// What is in use, at one moment.
pub struct Sight {
    /// As the last fold left it. Its rows of regions are those in use, and those that are being written.
    pub volume: Tree,
    /// The first region, from the place on that was asked for, that has references which are not folded yet. It is durable: one of a
    /// checkpoint that has not ended is none of them, although a node that was changed since loses its reference already (REG-9).
    pub fresh: Option<RegionId>,
    /// While it is held, no image that is in use now is taken away.
    pub lease: Arc<Published>,
}

impl Vat {
    pub(super) fn sight(&self, from: Place, replier: Replier<Answer<Sight>>, cx: &mut Context<'_>) {
        let fresh = self.state.next_unfolded(&self.grants, from);
        cx.reply(replier, Ok(Sight { volume: self.state.volume.clone(), fresh, lease: self.shared.published.load_full() }));
    }
}
