//! posthouse-resolver.
fn main() {}
