//! posthouse-virtual.
fn main() {}
