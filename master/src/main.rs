//! posthouse-master.
fn main() {}
