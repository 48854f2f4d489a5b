//! The smtp program; lmtp is the same under another name.

use std::process::ExitCode;

fn main() -> ExitCode {
    delivery::run::<posthouse_smtp::agent::SmtpAgent>()
}
