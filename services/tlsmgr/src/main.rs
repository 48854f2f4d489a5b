//! tlsmgr: holds private keys.

fn main() -> std::process::ExitCode {
    server::run::<posthouse_tlsmgr::Tlsmgr>()
}
