//! The attributes of many files.
//!
//! Must be true: what is in memory is answered where it is asked; what is not is read on the readers' threads, side by side. Fails: each file
//! for itself.

use super::join::Join;
use super::{FILES_A_MESSAGE, FILES_MAX, Which};
use crate::api::{Answer, Attributes, Refusal};
use crate::replier::Replier;
use crate::shared::Shared;
use crate::volume::Volume;
use infmap_storage::state::{StateError, View};

impl Volume {
    /// What `stat` shows of each of these files, in their order.
    ///
    /// # Errors
    /// `BatchTooBig` for more than 65,536.
    pub fn stat_many(&self, files: Vec<Which>, replier: Replier<Answer<Vec<Answer<Attributes>>>>) {
        if files.len() > FILES_MAX {
            return replier.reply(Err(Refusal::BatchTooBig));
        }
        let shared = &self.front.shared;
        let join = Join::new(files.len(), move |answers| replier.reply(Ok(answers)));
        let mut missed = Vec::new();
        for (number, which) in files.into_iter().enumerate() {
            match shared.query(|view| stat(shared, view, &which)) {
                Err(StateError::Miss(_)) => missed.push((number, which)),
                seen => join.put(number, seen.map_err(|error| shared.refuse(&error))),
            }
        }
        for (message, chunk) in missed.chunks(FILES_A_MESSAGE).enumerate() {
            let (chunk, join) = (chunk.to_vec(), join.clone());
            self.front.on_reader(message, move |shared| {
                for (number, which) in chunk {
                    let seen = shared.query_waiting(|view| stat(shared, view, &which));
                    join.put(number, seen.map_err(|error| shared.refuse(&error)));
                }
            });
        }
    }
}

fn stat(shared: &Shared, view: View<'_>, which: &Which) -> Result<Attributes, StateError> {
    shared.attributes_of(view, which.find(view)?)
}
