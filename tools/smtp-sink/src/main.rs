//! posthouse-smtp-sink.
fn main() {}
