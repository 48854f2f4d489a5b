//! posthouse-postkick.
fn main() {}
