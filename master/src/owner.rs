//! Making files as the owner of the mail system while being root.

use nix::unistd::{Gid, Uid, setegid, seteuid};

use crate::Error;

/// Who owns the queue: `mail_owner`, when master is root; nobody else otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// User.
    pub uid: Uid,
    /// Primary group.
    pub gid: Gid,
}

/// Runs `work` with the effective identity of `owner`, so that what the owner put into its directories cannot lead root
/// astray; as ourselves when there is no owner.
///
/// # Errors
/// [`Error::Identity`] when the identity cannot be changed.
///
/// # Panics
/// When root cannot become root again: there is no way to go on.
pub(crate) fn act_as<T>(owner: Option<Owner>, work: impl FnOnce() -> T) -> Result<T, Error> {
    let Some(owner) = owner else { return Ok(work()) };
    setegid(owner.gid).map_err(Error::Identity)?;
    if let Err(error) = seteuid(owner.uid) {
        setegid(Gid::from_raw(0)).expect("the effective user is still root");
        return Err(Error::Identity(error));
    }
    let result = work();
    seteuid(Uid::from_raw(0)).expect("the saved user is root");
    setegid(Gid::from_raw(0)).expect("the effective user is root again");
    Ok(result)
}
