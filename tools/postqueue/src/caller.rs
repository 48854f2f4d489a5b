//! Who calls, and what that user may do.

use config::Config;
use nix::unistd::{Uid, User, getuid};
use sys::privileges;
use tables::{Kind, MatchList};

use crate::error::Error;

/// The calling user: the real one, for the program is set-gid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Number.
    pub uid: u32,
    /// Login name; `unknown` when there is none.
    pub name: String,
    /// Root, or the owner of the queue.
    pub is_privileged: bool,
}

impl Caller {
    /// Of this process.
    ///
    /// # Errors
    /// Those of the configuration.
    pub fn current(config: &Config) -> Result<Caller, Error> {
        let uid = getuid();
        let owner = privileges::look_up(&config.string("mail_owner")?)?.map(|owner| owner.uid);
        let is_privileged = uid.is_root() || Some(uid) == owner || owns_queue(config, uid)?;
        let name = User::from_uid(uid).ok().flatten().map_or_else(|| "unknown".to_owned(), |user| user.name);
        Ok(Caller { uid: uid.as_raw(), name, is_privileged })
    }

    /// Refuses users that are not on the list in `parameter`. Root and the owner of the queue always are.
    ///
    /// # Errors
    /// [`Error::NotAllowed`]; a list that cannot be read allows nobody.
    pub fn check(&self, config: &Config, parameter: &'static str, what: &'static str) -> Result<(), Error> {
        if self.is_privileged {
            return Ok(());
        }
        let users = MatchList::open(&config.string(parameter)?, config, parameter, Kind::Strings, false)
            .map_err(|error| Error::Tables(error.to_string()))?;
        match users.matches_blocking(self.name.as_bytes()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NotAllowed { name: self.name.clone(), uid: self.uid, what }),
            Err(error) => Err(Error::Tables(error.to_string())),
        }
    }
}

/// The instance of a plain user belongs to that user, whatever mail_owner says.
fn owns_queue(config: &Config, uid: Uid) -> Result<bool, Error> {
    use std::os::unix::fs::MetadataExt;
    let path = std::path::Path::new(&config.string("queue_directory")?).join(queue::Directory::Active.name());
    Ok(std::fs::metadata(path).is_ok_and(|metadata| metadata.uid() == uid.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_users() {
        let caller = |name: &str, is_privileged| Caller { uid: 1000, name: name.into(), is_privileged };
        let config =
            Config::from_text("authorized_mailq_users = !mallory, static:anyone\nauthorized_flush_users = joe\n")
                .expect("configuration");
        let may = |caller: &Caller, parameter| caller.check(&config, parameter, "").is_ok();
        assert!(may(&caller("joe", false), "authorized_flush_users"));
        assert!(!may(&caller("jane", false), "authorized_flush_users"));
        assert!(may(&caller("jane", true), "authorized_flush_users"));
        assert!(may(&caller("jane", false), "authorized_mailq_users"));
        assert!(!may(&caller("mallory", false), "authorized_mailq_users"));
        let refused = caller("jane", false).check(&config, "authorized_flush_users", "flush the mail queue");
        let error = refused.expect_err("not on the list");
        assert_eq!(error.to_string(), "User jane(1000) is not allowed to flush the mail queue");
    }
}
