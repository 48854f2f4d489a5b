//! `-S`: one client on standard input and output (`sendmail -bs`), with the rights of whoever runs the program.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdStream;
use std::process::ExitCode;
use std::rc::Rc;

use tokio::net::UnixStream;

use crate::client::Client;
use crate::error::StartError;
use crate::service::SessionService;
use crate::worker::Worker;

/// Serves the one client; standard input and output may be terminals, pipes or files, so two threads carry the bytes.
pub(crate) async fn serve<S: SessionService>(service: Rc<S>, worker: Worker) -> Result<ExitCode, StartError> {
    let failed = || StartError::system("standard input and output");
    let (inner, outer) = StdStream::pair().map_err(failed())?;
    inner.set_nonblocking(true).map_err(failed())?;
    let stream = UnixStream::from_std(inner).map_err(failed())?;
    let to_client = outer.try_clone().map_err(failed())?;
    let output = tokio::task::spawn_blocking(move || copy(to_client, io::stdout()));
    // Stays in its read when the session ends first, and ends with the process.
    std::thread::spawn(move || {
        let copied = outer.try_clone().and_then(|to_session| copy(io::stdin(), to_session));
        // The client has nothing more to say, for whatever reason.
        let _ = outer.shutdown(Shutdown::Write);
        copied
    });
    Rc::clone(&service).started(worker.clone()).await;
    service.session(Client::StandAlone { stream }, worker).await;
    let copied = output.await.unwrap_or_else(|_| Err(io::Error::other("interrupted")));
    Ok(if copied.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = [0u8; 8192];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..count])?;
        to.flush()?;
    }
}
