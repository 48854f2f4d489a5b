//! posthouse-postconf.
fn main() {}
