//! Root writes a user's table as that user: a link in a user's directory must not lead root's pen elsewhere.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups, setegid, seteuid, setgroups};

/// As somebody else until dropped.
pub(super) struct AsOwner {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl AsOwner {
    /// Becomes the owner of the source, when we are root and the owner is not.
    pub(super) fn of(source: &Metadata) -> io::Result<Option<Self>> {
        if !geteuid().is_root() || source.uid() == 0 {
            return Ok(None);
        }
        let before = Self { uid: geteuid(), gid: getegid(), groups: getgroups()? };
        let gid = Gid::from_raw(source.gid());
        setgroups(&[gid])?;
        setegid(gid)?;
        seteuid(Uid::from_raw(source.uid()))?;
        Ok(Some(before))
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        // The saved ids are root's, so this cannot fail; if it did, going on with fewer rights is the safe side.
        let _ = seteuid(self.uid);
        let _ = setegid(self.gid);
        let _ = setgroups(&self.groups);
    }
}
