//! postkick(1): wakes a service.

use std::process::ExitCode;

fn main() -> ExitCode {
    posthouse_postkick::run(std::env::args_os())
}
