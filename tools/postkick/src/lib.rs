//! postkick: sends a request to the socket or named pipe of a service.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use config::getopt::Getopt;

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("usage: postkick [-c config_dir] [-v] class service request")]
    Usage(Option<String>),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error("chdir {directory}: {}", sys::reason(.source))]
    Directory { directory: String, source: io::Error },
    #[error("Cannot contact class {class} service {service} - perhaps the mail system is down")]
    Unreachable { class: String, service: String, why: String },
}

/// The command; arguments begin with the program's name.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    log::init(log::Options::before_configuration("postkick").also_stderr(true));
    match kick(arguments.into_iter().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match &error {
                Error::Usage(Some(mistake)) => {
                    // getopt(3) speaks before the program does.
                    let _ = writeln!(io::stderr(), "postkick: {mistake}");
                    log::fatal!("{error}");
                }
                Error::Unreachable { why, .. } => {
                    log::warning!("{why}");
                    log::warning!("{error}");
                }
                _ => log::fatal!("{error}"),
            }
            log::finish();
            ExitCode::FAILURE
        }
    }
}

fn kick(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Error> {
    let mut options = Getopt::new(arguments, "c:v");
    let mut directory = None;
    let mut verbose = 0;
    while let Some(option) = options.next_option().map_err(|mistake| Error::Usage(Some(mistake.to_string())))? {
        match option.letter {
            'c' => directory = Some(option.into_value()),
            _ => verbose += 1,
        }
    }
    let operands: Vec<String> =
        options.operands().iter().map(|operand| operand.to_string_lossy().into_owned()).collect();
    let [class, service, request] = operands.as_slice() else { return Err(Error::Usage(None)) };

    let config = config::tool::load(directory.as_deref())?;
    let mut log_options = log::Options::from_config(&config, "postkick")?.also_stderr(true);
    log_options.verbose = verbose;
    log::init(log_options);
    let queue_directory = config.string("queue_directory")?;
    std::env::set_current_dir(&queue_directory)
        .map_err(|source| Error::Directory { directory: queue_directory, source })?;

    let endpoint = PathBuf::from(class).join(service);
    let patience = config.time("application_event_drain_time")?;
    log::debug!("send \"{}\" to {}", log::show(request.as_bytes()), endpoint.display());
    send(&endpoint, request.as_bytes(), patience).map_err(|why| Error::Unreachable {
        class: class.clone(),
        service: service.clone(),
        why,
    })
}

/// Sends `request` in the way that fits what is found at `endpoint`.
fn send(endpoint: &Path, request: &[u8], patience: Duration) -> Result<(), String> {
    let shown = endpoint.display();
    let kind =
        std::fs::metadata(endpoint).map_err(|e| format!("unable to look up {shown}: {}", sys::reason(&e)))?.file_type();
    if kind.is_fifo() {
        // Without a reader the pipe cannot be opened, which is the answer.
        let opened = OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(endpoint);
        return opened
            .and_then(|mut pipe| pipe.write_all(request))
            .map_err(|e| format!("write to {shown}: {}", sys::reason(&e)));
    }
    if !kind.is_socket() {
        return Err(format!("{shown} is not a socket or a named pipe"));
    }
    ipc::blocking::trigger(endpoint, request, patience).map_err(|error| match error {
        ipc::Error::Io(error) => format!("connect to {shown}: {}", sys::reason(&error)),
        other => format!("write to {shown}: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_service_is_woken() {
        let directory = tempfile::tempdir().expect("directory");
        let spool = directory.path();
        std::fs::create_dir(spool.join("public")).expect("public");
        std::fs::write(spool.join("main.cf"), format!("queue_directory = {}\n", spool.display())).expect("main.cf");
        let listener = UnixListener::bind(spool.join("public/qmgr")).expect("listen");
        let configuration = spool.to_str().expect("path");
        kick(words(&["-c", configuration, "public", "qmgr", "FADI"])).expect("kick");
        let (mut stream, _) = listener.accept().expect("accept");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("read");
        let mut wanted = Vec::new();
        ipc::frame::put_raw(&mut wanted, ipc::Kind::Trigger, b"FADI");
        assert_eq!(bytes, wanted);

        log::capture();
        let code = run(words(&["postkick", "-c", configuration, "public", "nosuch", "W"]));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(
            log::capture(),
            [
                "warning: unable to look up public/nosuch: No such file or directory",
                "warning: Cannot contact class public service nosuch - perhaps the mail system is down",
            ]
        );
        drop(listener);
        let error = kick(words(&["-c", configuration, "public", "qmgr", "W"])).expect_err("nobody listens");
        assert!(matches!(error, Error::Unreachable { why, .. } if why == "connect to public/qmgr: Connection refused"));
    }

    #[test]
    fn a_named_pipe_gets_the_bare_characters() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        assert!(send(&path, b"W", Duration::from_secs(1)).is_err(), "nobody reads");
        let mut reader = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&path).expect("open");
        send(&path, b"W", Duration::from_secs(1)).expect("send");
        let mut bytes = [0u8; 4];
        assert_eq!(reader.read(&mut bytes).expect("read"), 1);
        assert_eq!(bytes[0], b'W');
    }

    #[test]
    fn usage_is_class_service_request() {
        for bad in [&[][..], &["public"], &["public", "qmgr"], &["a", "b", "c", "d"], &["-Z"]] {
            assert!(matches!(kick(words(bad)), Err(Error::Usage(_))), "{bad:?}");
        }
    }
}
