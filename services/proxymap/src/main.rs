//! The proxymap program.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::run::<posthouse_proxymap::Proxymap>()
}
