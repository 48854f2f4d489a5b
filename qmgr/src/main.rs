//! posthouse-qmgr.
fn main() {}
