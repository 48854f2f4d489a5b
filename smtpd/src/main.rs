//! smtpd: receives mail over SMTP.

fn main() -> std::process::ExitCode {
    server::run::<smtpd::Smtpd>()
}
