//! The local program.

use std::process::ExitCode;

fn main() -> ExitCode {
    delivery::run_blocking::<posthouse_local::agent::Local>()
}
