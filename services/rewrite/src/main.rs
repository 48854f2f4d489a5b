//! posthouse-rewrite.
fn main() {}
