//! The bounce program: the bounce, defer and trace services.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::run::<posthouse_bounce::Bounce>()
}
