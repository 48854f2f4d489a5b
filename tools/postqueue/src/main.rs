//! postqueue: see the library of this program.

fn main() -> std::process::ExitCode {
    posthouse_postqueue::run()
}
