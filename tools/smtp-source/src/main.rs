//! posthouse-smtp-source.
fn main() {}
