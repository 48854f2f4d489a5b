//! postfix: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    postfix::run(std::env::args_os().skip(1))
}
