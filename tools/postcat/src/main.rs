//! posthouse-postcat.
fn main() {}
