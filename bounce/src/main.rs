//! posthouse-bounce.
fn main() {}
