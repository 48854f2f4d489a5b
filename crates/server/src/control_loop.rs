//! What master says while the worker serves.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use ipc::master::ToWorker;
use tokio::io::unix::AsyncFd;

use crate::control::{Control, Order};
use crate::service::SessionService;
use crate::trigger;
use crate::worker::Worker;

/// Follows master's orders from now on, in a task of the worker.
pub(crate) fn start<S: SessionService>(service: &Rc<S>, worker: &Worker) -> io::Result<()> {
    let Some(control) = &worker.0.control else { return Ok(()) };
    let control = control.try_clone()?;
    let ready = sys::readiness::watch(control.descriptor().try_clone()?)?;
    let (service, worker) = (Rc::clone(service), worker.clone());
    worker.clone().spawn_background(async move { follow(&service, &worker, &control, &ready).await });
    Ok(())
}

async fn follow<S: SessionService>(service: &Rc<S>, worker: &Worker, control: &Control, ready: &AsyncFd<OwnedFd>) {
    loop {
        let Ok(mut guard) = ready.readable().await else { return worker.start_draining() };
        match control.receive() {
            Ok(Some(order)) => obey(service, worker, order),
            Ok(None) => return worker.start_draining(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
            Err(error) => {
                log::warning!("message from master: {error}");
                return worker.start_draining();
            }
        }
    }
}

fn obey<S: SessionService>(service: &Rc<S>, worker: &Worker, order: Order) {
    match order.message {
        ToWorker::Sessions(share) => worker.set_share(share),
        ToWorker::Drain => worker.start_draining(),
        ToWorker::Wakeup => trigger::wake(service, worker, b"W".to_vec()),
        ToWorker::Syslog => {
            if let Some(socket) = order.descriptor {
                log::set_syslog_socket(socket);
            }
        }
        ToWorker::Start { .. } => log::warning!("message from master: a second start"),
    }
}
