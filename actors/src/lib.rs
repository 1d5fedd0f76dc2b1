//! Who does what when.

pub mod settings;
