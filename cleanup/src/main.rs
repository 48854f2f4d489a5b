//! cleanup: puts messages into the queue.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::run::<posthouse_cleanup::Service>()
}
