//! posthouse-postmap.
fn main() {}
