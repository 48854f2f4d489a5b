//! pickup: takes local submissions from the maildrop directory.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::run::<posthouse_pickup::Service>()
}
