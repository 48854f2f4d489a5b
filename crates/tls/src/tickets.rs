//! Session tickets (RFC 5077, RFC 8446 4.6.1) under keys that all workers share.

use std::sync::RwLock;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use ipc::tlsmgr::TicketKeys;
use rustls::server::ProducesTickets;

/// A ticket is `key name, nonce, sealed state`.
const NAME: usize = 16;

struct Key {
    name: [u8; NAME],
    sealing: RandomizedNonceKey,
}

/// Makes and opens tickets. Without keys it does neither: clients then begin anew.
#[derive(Default)]
pub struct Tickets {
    state: RwLock<(Vec<Key>, u32)>,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl Tickets {
    /// Takes up the keys of tlsmgr.
    pub fn set(&self, keys: &TicketKeys) {
        let usable = |key: &ipc::tlsmgr::TicketKey| {
            let sealing = RandomizedNonceKey::new(&AES_256_GCM, &key.secret).ok()?;
            Some(Key { name: key.name, sealing })
        };
        let new = (keys.keys.iter().filter_map(usable).collect(), keys.lifetime);
        *self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner) = new;
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, (Vec<Key>, u32)> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.read().0.is_empty()
    }

    fn lifetime(&self) -> u32 {
        self.read().1
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let state = self.read();
        let key = state.0.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.sealing.seal_in_place_append_tag(Aad::from(&key.name), &mut sealed).ok()?;
        Some([&key.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let state = self.read();
        let key = state.0.iter().find(|key| key.name == name)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = key.sealing.open_in_place(nonce, Aad::from(&key.name), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc::tlsmgr::TicketKey;

    fn keys(numbers: &[u8]) -> TicketKeys {
        let keys = numbers.iter().map(|n| TicketKey { name: [*n; 16], secret: [n ^ 0x55; 32] }).collect();
        TicketKeys { keys, lifetime: 3600 }
    }

    #[test]
    fn workers_open_each_others_tickets_until_the_key_is_gone() {
        let (one, two) = (Tickets::default(), Tickets::default());
        assert!(!one.enabled() && one.encrypt(b"x").is_none());
        one.set(&keys(&[1]));
        two.set(&keys(&[2, 1]));
        let ticket = one.encrypt(b"state").expect("a ticket");
        assert_ne!(one.encrypt(b"state").expect("a ticket"), ticket);
        assert_eq!(two.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        assert_eq!(two.lifetime(), 3600);
        two.set(&keys(&[3, 2]));
        assert_eq!(two.decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[at] ^= 1;
            assert_eq!(one.decrypt(&forged), None, "{at}");
            assert_eq!(one.decrypt(&ticket[..at]), None, "{at}");
        }
    }
}
