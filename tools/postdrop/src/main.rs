//! postdrop: puts a message into the maildrop directory.

use std::process::ExitCode;

fn main() -> ExitCode {
    posthouse_postdrop::run()
}
