//! The attributes of many files.
//!
//! Must be true: what is in memory is answered where it is asked; what is not is read on the readers' threads, side by side. Fails: each file
//! for itself.

use super::join::Join;
use super::look::Look;
use super::{FILES_MAX, Which};
use crate::api::{Answer, Attributes, Refusal};
use crate::replier::Replier;
use crate::shared::Shared;
use crate::volume::Volume;
use infmap_storage::state::{StateError, View};
use std::sync::Arc;

impl Volume {
    /// What `stat` shows of each of these files, in their order.
    ///
    /// # Errors
    /// `BatchTooBig` for more than 65,536.
    pub fn stat_many(&self, files: Vec<Which>, replier: Replier<Answer<Vec<Answer<Attributes>>>>) {
        if files.len() > FILES_MAX {
            return replier.reply(Err(Refusal::BatchTooBig));
        }
        let join = Join::new(files.len(), move |answers| replier.reply(Ok(answers)));
        let look = Look {
            front: self.front.clone(),
            ask: |shared, view, (_, which): &(usize, Which)| stat(shared, view, which),
            answer: Box::new(move |shared, (number, _), seen| join.put(number, seen.map_err(|error| shared.refuse(&error)))),
            then: Box::new(|| {}),
        };
        Arc::new(look).at(files.into_iter().enumerate().collect());
    }
}

fn stat(shared: &Shared, view: View<'_>, which: &Which) -> Result<Attributes, StateError> {
    shared.attributes_of(view, which.find(view)?)
}
