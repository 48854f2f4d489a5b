//! posthouse-sendmail.
fn main() {}
