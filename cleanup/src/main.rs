//! posthouse-cleanup.
fn main() {}
