//! The check itself is tested: a sound volume gives no finding, and each broken rule gives one with its name.

pub(crate) mod builder;
mod breakages;
mod sound;
