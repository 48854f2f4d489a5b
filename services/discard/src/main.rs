//! discard: throw mail away as if it had been delivered.

use std::process::ExitCode;

fn main() -> ExitCode {
    delivery::run::<posthouse_discard::DiscardAgent>()
}
