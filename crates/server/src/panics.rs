//! A panic ends one session, not the others: it is logged, and the client may get a last reply.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::panic;

/// The connection of the session that runs at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CurrentClient {
    pub(crate) descriptor: RawFd,
    pub(crate) peer: SocketAddr,
}

thread_local! {
    static CURRENT: Cell<Option<CurrentClient>> = const { Cell::new(None) };
    static REPLY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// From now on panics are logged as `panic:` lines. `reply` is what an internet client hears last (a 421 line).
pub(crate) fn install(reply: Option<Vec<u8>>) {
    REPLY.with(|cell| *cell.borrow_mut() = reply.unwrap_or_default());
    panic::set_hook(Box::new(|info| {
        let text = info.payload();
        let text = text
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| text.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("unknown reason");
        match info.location() {
            Some(at) => log::panic!("{text} ({}:{})", at.file(), at.line()),
            None => log::panic!("{text}"),
        }
        if let Some(client) = CURRENT.try_with(Cell::take).ok().flatten() {
            let _ = REPLY.try_with(|reply| {
                if let Ok(reply) = reply.try_borrow()
                    && !reply.is_empty()
                {
                    // The client may be gone already; there is nobody left to tell.
                    let _ = sys::last_words::send_if_peer(client.descriptor, client.peer, &reply);
                }
            });
        }
    }));
}

/// Runs `turn` as part of the session with `client`, which is gone from there once the session says so.
pub(crate) fn on_behalf_of<R>(client: &mut Option<CurrentClient>, turn: impl FnOnce() -> R) -> R {
    CURRENT.set(*client);
    let result = turn();
    *client = CURRENT.take();
    result
}

/// From now on the session that calls this gets no last reply at a panic: its connection speaks TLS.
pub fn forget_client() {
    CURRENT.set(None);
}
