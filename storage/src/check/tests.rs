//! The check itself is tested: a sound volume gives no finding, and each broken rule gives one with its name.

mod breakages;
pub(crate) mod builder;
mod sound;
