//! posthouse-postalias.
fn main() {}
