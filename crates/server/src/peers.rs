//! Who may call whom: the kernel's word about the process at the other end of a Unix-domain socket (`SO_PEERCRED`)
//! against a table.

use std::os::fd::AsFd;

use config::Config;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Gid, Uid};

use crate::account::{self, Account};
use crate::error::StartError;

/// The process at the other end, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id.
    pub pid: i32,
}

impl Peer {
    /// Asks the kernel.
    ///
    /// # Errors
    /// The error of `getsockopt(2)`.
    pub fn of(socket: &impl AsFd) -> std::io::Result<Peer> {
        let credentials = getsockopt(&socket.as_fd(), sockopt::PeerCredentials)?;
        Ok(Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
    }
}

/// A set of callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callers(u8);

impl Callers {
    /// root: local's and virtual's forking halves, master, administrators' tools.
    pub const ROOT: Callers = Callers(1);
    /// `mail_owner`: qmgr, cleanup, bounce, pickup, showq, flush, verify.
    pub const MAIL_OWNER: Callers = Callers(1 << 1);
    /// smtpd, postscreen, qmqpd.
    pub const MAIL_IN: Callers = Callers(1 << 2);
    /// smtp, lmtp.
    pub const MAIL_OUT: Callers = Callers(1 << 3);
    /// tlsmgr.
    pub const KEYS: Callers = Callers(1 << 4);
    /// proxymap and table servers.
    pub const TABLES: Callers = Callers(1 << 5);
    /// resolver.
    pub const NAMES: Callers = Callers(1 << 6);
    /// The set-gid tools (postdrop, postqueue, postlog): effective group `setgid_group`.
    pub const SET_GID: Callers = Callers(1 << 7);
    /// Every daemon, none of the tools of users.
    pub const DAEMONS: Callers = Callers(0x7f);
    /// Daemons and set-gid tools: for sockets in `public/`.
    pub const ALL: Callers = Callers(0xff);
    /// root and `mail_owner` only: for delivery agents and bounce, which only qmgr calls.
    pub const OWNER: Callers = Callers(0b11);

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Callers) -> Callers {
        Callers(self.0 | other.0)
    }

    /// True when the sets have somebody in common.
    #[must_use]
    pub const fn meets(self, other: Callers) -> bool {
        self.0 & other.0 != 0
    }

    fn of_account(account: Account) -> Callers {
        match account {
            Account::Root => Callers::ROOT,
            Account::MailOwner => Callers::MAIL_OWNER,
            Account::MailIn => Callers::MAIL_IN,
            Account::MailOut => Callers::MAIL_OUT,
            Account::Keys => Callers::KEYS,
            Account::Tables => Callers::TABLES,
            Account::Names => Callers::NAMES,
        }
    }
}

/// The accounts of this installation, looked up once at start-up.
#[derive(Clone, Debug)]
pub struct Peers {
    accounts: Vec<(u32, Callers)>,
    setgid_group: Option<u32>,
    /// Plain-user mode: everything runs as this user.
    alone: Option<u32>,
}

impl Peers {
    /// Looks up the accounts; in an instance of a plain user there is just that user.
    ///
    /// # Errors
    /// Accounts that cannot be looked up.
    pub fn load(config: &Config) -> Result<Peers, StartError> {
        let me = nix::unistd::geteuid();
        if !me.is_root() {
            return Ok(Peers::only(me));
        }
        let mut accounts = vec![(0, Callers::ROOT)];
        for account in Account::UNPRIVILEGED {
            if let Some(uid) = account.uid(config)? {
                accounts.push((uid.as_raw(), Callers::of_account(account)));
            }
        }
        let setgid_group = account::setgid_group(config)?.map(Gid::as_raw);
        Ok(Peers { accounts, setgid_group, alone: None })
    }

    /// The table of an instance that one user runs alone.
    #[must_use]
    pub fn only(user: Uid) -> Peers {
        Peers { accounts: Vec::new(), setgid_group: None, alone: Some(user.as_raw()) }
    }

    /// A table of accounts, for tests: user ids and who they are.
    #[must_use]
    pub fn with(accounts: &[(Uid, Callers)]) -> Peers {
        let accounts = accounts.iter().map(|(uid, callers)| (uid.as_raw(), *callers)).collect();
        Peers { accounts, setgid_group: None, alone: None }
    }

    /// As whom `peer` may speak. Several accounts may share a user id.
    #[must_use]
    pub fn roles(&self, peer: Peer) -> Callers {
        if let Some(alone) = self.alone {
            return Callers(if peer.uid == alone || peer.uid == 0 { 0xff } else { 0 });
        }
        let by_user = self.accounts.iter().filter(|(uid, _)| *uid == peer.uid);
        let mut roles = by_user.fold(Callers(0), |roles, (_, more)| roles.and(*more));
        if self.setgid_group == Some(peer.gid) {
            roles = roles.and(Callers::SET_GID);
        }
        roles
    }
}

/// True when `peer` is one of `allowed`.
#[must_use]
pub fn check(peers: &Peers, peer: Peer, allowed: Callers) -> bool {
    peers.roles(peer).meets(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, gid: u32) -> Peer {
        Peer { uid, gid, pid: 1 }
    }

    #[test]
    fn the_table_of_callers() {
        let peers = Peers {
            accounts: vec![
                (0, Callers::ROOT),
                (100, Callers::MAIL_OWNER),
                (101, Callers::MAIL_IN),
                (100, Callers::NAMES),
            ],
            setgid_group: Some(200),
            alone: None,
        };
        let cases = [
            (peer(0, 0), Callers::DAEMONS, true),
            (peer(100, 100), Callers::OWNER, true),
            (peer(100, 100), Callers::NAMES, true),
            (peer(101, 100), Callers::OWNER, false),
            (peer(101, 100), Callers::DAEMONS, true),
            (peer(1000, 1000), Callers::ALL, false),
            (peer(1000, 200), Callers::ALL, true),
            (peer(1000, 200), Callers::DAEMONS, false),
        ];
        for (peer, allowed, wanted) in cases {
            assert_eq!(check(&peers, peer, allowed), wanted, "{peer:?} {allowed:?}");
        }
    }

    #[test]
    fn a_plain_user_is_among_themselves() {
        let peers = Peers::only(Uid::from_raw(1000));
        assert!(check(&peers, peer(1000, 1000), Callers::OWNER));
        assert!(check(&peers, peer(0, 0), Callers::OWNER));
        assert!(!check(&peers, peer(1001, 1000), Callers::ALL));
    }

    #[test]
    fn the_kernel_knows_the_peer() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().expect("pair");
        let peer = Peer::of(&a).expect("credentials");
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(peer.pid, std::process::id() as i32);
    }
}
