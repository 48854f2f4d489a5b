//! posthouse-discard.
fn main() {}
