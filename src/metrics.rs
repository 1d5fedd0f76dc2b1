//! Figures of a mount: what there is, where it is recorded, and how it becomes text.
//!
//! Owns: the catalogue, the recorder of the process, and what is sampled when somebody looks. Must be true: MET-1 to MET-5; MET-6 whoever
//! looks waits for no actor and no disk; when nobody looks nothing is done but counting. Fails: never; without a recorder there is no
//! text.

mod buckets;
pub mod catalogue;
mod floats;
mod process;
mod recorder;
mod sample;
mod text;

pub use recorder::{Exposition, install};
pub use sample::{Name, Sampler};
