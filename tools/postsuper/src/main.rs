//! posthouse-postsuper.
fn main() {}
