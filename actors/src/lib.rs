//! Who does what when.
