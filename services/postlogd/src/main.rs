//! posthouse-postlogd.
fn main() {}
