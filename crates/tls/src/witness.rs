//! What the calls that rustls makes to us saw during one step of a handshake.
//!
//! rustls calls keys, resolvers and verifiers that connections share, and tells them nothing of the connection. A step runs
//! from its begin to its end on one thread, so what they note in [`Seen`] is this connection's.

use std::cell::RefCell;

use rustls::SignatureScheme;

use crate::certificate::KeyKind;

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The key of the chain that was chosen.
    pub(crate) chosen: Option<KeyKind>,
    /// The channel binding of that chain (`tls-server-end-point`).
    pub(crate) end_point: Option<std::sync::Arc<[u8]>>,
    /// We have signed, by this scheme.
    pub(crate) signed: Option<SignatureScheme>,
    /// The peer has signed, by this scheme.
    pub(crate) peer_signed: Option<SignatureScheme>,
    /// Why we have not signed.
    pub(crate) problem: Option<String>,
}

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// Runs a step and adds what is seen meanwhile to `seen`.
pub(crate) fn watch<R>(seen: &mut Seen, step: impl FnOnce() -> R) -> R {
    SEEN.replace(std::mem::take(seen));
    let outcome = step();
    *seen = SEEN.take();
    outcome
}

/// Notes something.
pub(crate) fn note(change: impl FnOnce(&mut Seen)) {
    SEEN.with_borrow_mut(change);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_two_handshakes_do_not_mix() {
        let (mut one, mut two) = (Seen::default(), Seen::default());
        watch(&mut one, || note(|seen| seen.signed = Some(SignatureScheme::ED25519)));
        watch(&mut two, || note(|seen| seen.problem = Some("x".into())));
        watch(&mut one, || note(|seen| seen.peer_signed = Some(SignatureScheme::RSA_PSS_SHA256)));
        assert_eq!(
            (one.signed, one.peer_signed),
            (Some(SignatureScheme::ED25519), Some(SignatureScheme::RSA_PSS_SHA256))
        );
        assert_eq!((two.signed, two.problem.as_deref(), one.problem), (None, Some("x"), None));
    }
}
