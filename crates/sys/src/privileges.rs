//! Becoming somebody with fewer rights, once and for all.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{self, Gid, Group, Uid, User};

/// Who a process becomes: found in the account database, by root, never told by a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account's name, for messages.
    pub name: String,
    /// User.
    pub uid: Uid,
    /// Primary group.
    pub gid: Gid,
    /// All groups, the primary one among them, sorted.
    pub groups: Vec<Gid>,
}

/// Why a process could not become somebody else. It must not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The account database cannot be read now.
    #[error("cannot look up {kind} {name}: {}", crate::reason(source))]
    LookUp {
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// There is no such account.
    #[error("unknown {kind}: {name}")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An account with the rights of root was named where one without is needed.
    #[error("account {0} has the user or group id of root")]
    Root(String),
    /// A system call of the change failed.
    #[error("{call}: {}", crate::reason(source))]
    Call {
        /// The call, with its argument.
        call: String,
        /// Why.
        source: io::Error,
    },
    /// The change went through but does not hold.
    #[error("privileges of {0} could be regained")]
    Regained(String),
}

/// The account `name`, with all its groups; `None` when there is none.
///
/// # Errors
/// [`Error::LookUp`] when the account database fails.
pub fn look_up(name: &str) -> Result<Option<Identity>, Error> {
    let failed = |source: Errno| Error::LookUp { kind: "user", name: name.to_owned(), source: source.into() };
    let Some(user) = User::from_name(name).map_err(failed)? else { return Ok(None) };
    let c_name = CString::new(name).map_err(|_| failed(Errno::EINVAL))?;
    let groups = unistd::getgrouplist(&c_name, user.gid).map_err(failed)?;
    let mut identity = Identity { name: name.to_owned(), uid: user.uid, gid: user.gid, groups };
    identity.tidy_groups();
    Ok(Some(identity))
}

/// The id of the group `name`.
///
/// # Errors
/// [`Error::LookUp`]; [`Error::Unknown`].
pub fn look_up_group(name: &str) -> Result<Gid, Error> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(Error::Unknown { kind: "group", name: name.to_owned() }),
        Err(source) => Err(Error::LookUp { kind: "group", name: name.to_owned(), source: source.into() }),
    }
}

impl Identity {
    /// Adds `groups` to the supplementary ones.
    pub fn add_groups(&mut self, groups: &[Gid]) {
        self.groups.extend_from_slice(groups);
        self.tidy_groups();
    }

    fn tidy_groups(&mut self) {
        self.groups.push(self.gid);
        self.groups.sort_unstable_by_key(|g| g.as_raw());
        self.groups.dedup();
    }
}

/// True when this process can change its identity.
#[must_use]
pub fn is_root() -> bool {
    unistd::geteuid().is_root()
}

/// Becomes `identity`, within `jail` when one is given: groups, group, root and working directory, user, and then the
/// proof that there is no way back. The working directory is the jail's root.
///
/// # Errors
/// Any step that fails, and a proof that does not succeed. The process is in an unknown state then and must end.
pub fn drop_privileges(identity: &Identity, jail: Option<&Path>) -> Result<(), Error> {
    let Identity { name, uid, gid, groups } = identity;
    if uid.is_root() || gid.as_raw() == 0 {
        return Err(Error::Root(name.clone()));
    }
    let failed = |call: String| move |source: Errno| Error::Call { call, source: source.into() };
    unistd::setgroups(groups).map_err(failed(format!("setgroups for {name}")))?;
    unistd::setresgid(*gid, *gid, *gid).map_err(failed(format!("setresgid({gid})")))?;
    if let Some(jail) = jail {
        enter(jail)?;
    }
    unistd::setresuid(*uid, *uid, *uid).map_err(failed(format!("setresuid({uid})")))?;
    prove(identity)
}

/// Changes root and working directory to `jail`, and nothing else: for programs that stay root.
///
/// # Errors
/// [`Error::Call`].
pub fn enter(jail: &Path) -> Result<(), Error> {
    let shown = PathBuf::from(jail);
    let failed = |call: &str| {
        let call = format!("{call}({})", shown.display());
        move |source: Errno| Error::Call { call, source: source.into() }
    };
    unistd::chroot(jail).map_err(failed("chroot"))?;
    unistd::chdir("/").map_err(failed("chdir"))
}

/// Shows that this process is `identity` in every respect and cannot become anything else.
fn prove(identity: &Identity) -> Result<(), Error> {
    let regained = || Error::Regained(identity.name.clone());
    let failed = |source: Errno| Error::Call { call: "getresuid".to_owned(), source: source.into() };
    let user = unistd::getresuid().map_err(failed)?;
    let group = unistd::getresgid().map_err(failed)?;
    let mut groups = unistd::getgroups().map_err(failed)?;
    groups.sort_unstable_by_key(|g| g.as_raw());
    groups.dedup();
    let as_wanted = [user.real, user.effective, user.saved].iter().all(|id| *id == identity.uid)
        && [group.real, group.effective, group.saved].iter().all(|id| *id == identity.gid)
        && groups == identity.groups;
    if !as_wanted {
        return Err(regained());
    }
    let root = Uid::from_raw(0);
    if unistd::setuid(root).is_ok() || unistd::seteuid(root).is_ok() || unistd::setresuid(root, root, root).is_ok() {
        return Err(regained());
    }
    let wheel = Gid::from_raw(0);
    if unistd::setresgid(wheel, wheel, wheel).is_ok() || unistd::setgroups(&[wheel]).is_ok() {
        return Err(regained());
    }
    Ok(())
}

/// Files that this process creates are for its own account only unless it says otherwise.
pub fn private_umask() {
    umask(Mode::from_bits_truncate(0o077));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Names the jail; set in the process that [`as_somebody_else`] changes.
    const JAIL: &str = "SYS_TEST_JAIL";

    /// Not a test: the process that gives up its rights, when the test below starts it.
    #[test]
    fn as_somebody_else() {
        let Some(jail) = std::env::var_os(JAIL) else { return };
        let mut identity = look_up("daemon").expect("look up").expect("account");
        identity.add_groups(&[look_up_group("games").expect("group")]);
        drop_privileges(&identity, Some(Path::new(&jail))).expect("drop");
        assert!(!is_root());
        assert_eq!(unistd::getcwd().expect("cwd"), Path::new("/"));
        assert!(!Path::new("/etc").exists(), "outside the jail");
        assert!(unistd::setuid(Uid::from_raw(0)).is_err());
        assert!(unistd::setgroups(&[Gid::from_raw(0)]).is_err());
        assert!(unistd::chroot(".").is_err());
        // A second time there is nothing to give up from.
        assert!(matches!(drop_privileges(&identity, None), Err(Error::Call { .. })));
    }

    #[test]
    fn what_is_given_up_does_not_come_back() {
        if !is_root() {
            return;
        }
        let jail = std::env::temp_dir().join(format!("sys-jail-{}", std::process::id()));
        std::fs::create_dir(&jail).expect("jail");
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "privileges::tests::as_somebody_else"])
            .env(JAIL, &jail)
            .status();
        std::fs::remove_dir(&jail).expect("jail is empty");
        assert!(status.expect("run").success());
    }

    #[test]
    fn root_is_nobody_to_become() {
        let root = look_up("root").expect("look up").expect("account");
        assert!(matches!(drop_privileges(&root, None), Err(Error::Root(name)) if name == "root"));
        assert_eq!(look_up("no-such-account").expect("look up"), None);
        assert!(matches!(look_up_group("no-such-group"), Err(Error::Unknown { kind: "group", .. })));
    }
}
