//! posthouse-smtpd.
fn main() {}
