//! posthouse-error.
fn main() {}
