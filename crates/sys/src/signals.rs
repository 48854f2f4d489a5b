//! Signal dispositions and masks as a freshly started program expects them.

use nix::sys::signal::SigSet;

/// Signals whose handling a parent may have changed to "ignore", which survives an exec.
const RESET: [libc::c_int; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCHLD,
];

/// Gives the usual signals their default effect again and blocks none: for a child before it runs another program, and
/// for a program that takes its signals from a descriptor.
///
/// # Errors
/// The error of `pthread_sigmask(3)`.
pub fn defaults() -> std::io::Result<()> {
    for signal in RESET {
        // SAFETY: SIG_DFL is not a function of ours; no code of this process runs on the signal.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}
