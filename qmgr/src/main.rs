//! qmgr: the queue manager.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::run::<posthouse_qmgr::Qmgr>()
}
