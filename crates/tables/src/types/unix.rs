//! `unix:passwd.byname` and `unix:group.byname`: the system's account databases.

use bstr::BString;
use nix::unistd::{Group, User};

use crate::error::Fault;
use crate::table::Source;

/// Which database.
pub(crate) enum Unix {
    Passwd,
    Group,
}

impl Unix {
    pub(crate) fn open(name: &str) -> Result<Self, String> {
        match name {
            "passwd.byname" => Ok(Self::Passwd),
            "group.byname" => Ok(Self::Group),
            _ => Err(format!("unknown table: unix:{name}")),
        }
    }
}

impl Source for Unix {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        let Some(name) = std::str::from_utf8(key).ok().filter(|name| !name.contains('\0')) else {
            return Ok(None);
        };
        let failed = |error: nix::errno::Errno| Fault(format!("account lookup: {error}"));
        match self {
            Self::Passwd => Ok(User::from_name(name).map_err(failed)?.map(|user| {
                format!(
                    "{}:{}:{}:{}:{}:{}:{}",
                    user.name,
                    user.passwd.to_string_lossy(),
                    user.uid,
                    user.gid,
                    user.gecos.to_string_lossy(),
                    user.dir.display(),
                    user.shell.display()
                )
                .into()
            })),
            Self::Group => Ok(Group::from_name(name).map_err(failed)?.map(|group| {
                let members = group.mem.join(",");
                format!("{}:{}:{}:{members}", group.name, group.passwd.to_string_lossy(), group.gid).into()
            })),
        }
    }
}
