//! posthouse-pickup.
fn main() {}
