//! The resolver program.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::run::<posthouse_resolver::ResolverService>()
}
