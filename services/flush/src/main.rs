//! posthouse-flush.
fn main() {}
