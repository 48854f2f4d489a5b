//! posthouse-postfix.
fn main() {}
