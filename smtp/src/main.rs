//! posthouse-smtp.
fn main() {}
