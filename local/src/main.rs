//! posthouse-local.
fn main() {}
