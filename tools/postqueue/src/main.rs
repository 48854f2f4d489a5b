//! posthouse-postqueue.
fn main() {}
