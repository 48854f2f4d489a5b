//! postmap(1): builds, queries and changes lookup tables.

use std::process::ExitCode;

fn main() -> ExitCode {
    posthouse_postmap::POSTMAP.run()
}
