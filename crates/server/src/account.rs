//! Which account a daemon runs as (DESIGN 4).

use config::Config;
use nix::unistd::{Gid, Uid};
use sys::privileges::{self, Identity};

use crate::error::StartError;

/// The account of a daemon. Each falls back to `mail_owner` when it does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// root, for programs that become a recipient, and nobody else.
    Root,
    /// `mail_owner`: owns the queue.
    MailOwner,
    /// `mail_in_account`: talks to clients.
    MailIn,
    /// `mail_out_account`: talks to servers.
    MailOut,
    /// `tls_key_account`: holds private keys.
    Keys,
    /// `table_account`: reads map files and database passwords.
    Tables,
    /// `resolver_account`: talks DNS.
    Names,
}

impl Account {
    /// All that are not root.
    pub(crate) const UNPRIVILEGED: [Account; 6] =
        [Account::MailOwner, Account::MailIn, Account::MailOut, Account::Keys, Account::Tables, Account::Names];

    /// The parameter that names the account.
    #[must_use]
    pub fn parameter(self) -> Option<&'static str> {
        match self {
            Account::Root => None,
            Account::MailOwner => Some("mail_owner"),
            Account::MailIn => Some("mail_in_account"),
            Account::MailOut => Some("mail_out_account"),
            Account::Keys => Some("tls_key_account"),
            Account::Tables => Some("table_account"),
            Account::Names => Some("resolver_account"),
        }
    }

    /// Who that is here, with all groups: a service account's own and `mail_owner`'s, so that what was opened to the
    /// group or to the user's groups before stays open; for mail in also `setgid_group`, which guards `public/`.
    ///
    /// # Errors
    /// Accounts that cannot be looked up; a `mail_owner` that does not exist or has the rights of root.
    pub fn identity(self, config: &Config) -> Result<Option<Identity>, StartError> {
        let Some(parameter) = self.parameter() else { return Ok(None) };
        let owner_name = config.string("mail_owner")?;
        let Some(owner) = privileges::look_up(&owner_name)? else {
            return Err(StartError::Service(format!("parameter mail_owner: unknown user name value: {owner_name}")));
        };
        if self == Account::MailOwner {
            return Ok(Some(owner));
        }
        let name = config.string(parameter)?;
        let Some(mut identity) = privileges::look_up(&name)? else { return Ok(Some(owner)) };
        identity.add_groups(&owner.groups);
        if self == Account::MailIn
            && let Some(group) = setgid_group(config)?
        {
            identity.add_groups(&[group]);
        }
        Ok(Some(identity))
    }

    /// The user id of this account; `None` where neither it nor `mail_owner` exists.
    pub(crate) fn uid(self, config: &Config) -> Result<Option<Uid>, StartError> {
        let Some(parameter) = self.parameter() else { return Ok(Some(Uid::from_raw(0))) };
        if let Some(identity) = privileges::look_up(&config.string(parameter)?)? {
            return Ok(Some(identity.uid));
        }
        Ok(privileges::look_up(&config.string("mail_owner")?)?.map(|owner| owner.uid))
    }
}

/// The group `setgid_group`, if it exists.
pub(crate) fn setgid_group(config: &Config) -> Result<Option<Gid>, StartError> {
    match privileges::look_up_group(&config.string("setgid_group")?) {
        Ok(group) => Ok(Some(group)),
        Err(privileges::Error::Unknown { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
