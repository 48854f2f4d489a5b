//! flush: see the library of this program.

fn main() -> std::process::ExitCode {
    server::run::<posthouse_flush::Flush>()
}
