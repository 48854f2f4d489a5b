//! postconf(1): shows and edits the configuration.

use std::process::ExitCode;

fn main() -> ExitCode {
    posthouse_postconf::run(std::env::args_os().skip(1).collect())
}
