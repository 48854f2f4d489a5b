//! The trivial-rewrite program.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::run::<posthouse_rewrite::Rewrite>()
}
