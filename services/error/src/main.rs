//! error, retry: return or defer mail with the reason that the routing tables give.

use std::process::ExitCode;

fn main() -> ExitCode {
    delivery::run::<posthouse_error::ErrorAgent>()
}
