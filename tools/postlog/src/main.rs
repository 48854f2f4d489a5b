//! postlog(1): logs text as the other programs do, for scripts.

use std::process::ExitCode;

fn main() -> ExitCode {
    posthouse_postlog::run(std::env::args_os())
}
