//! posthouse-showq.
fn main() {}
