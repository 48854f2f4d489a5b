//! posthouse-postlog.
fn main() {}
