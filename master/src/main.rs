//! master: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    master::run(std::env::args_os().skip(1))
}
