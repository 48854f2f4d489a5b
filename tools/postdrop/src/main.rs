//! posthouse-postdrop.
fn main() {}
