//! `proxy:type:name`: a table that the proxymap service opens.
//!
//! Tools open the table themselves, within what `proxy_read_maps` approves. Tables that have a server of their own are
//! asked there without a detour where they are approved.

use super::remote::{self, Remote};
use crate::error::Error;
use crate::flags::Flags;
use crate::open;
use crate::settings::{Servers, Settings};
use crate::table::Source;

/// Opens the table behind `proxy:`.
pub(crate) fn open(name: &str, settings: &Settings, flags: Flags) -> Result<Box<dyn Source>, Error> {
    let forbidden = |reason: &str| Error::Forbidden { name: format!("proxy:{name}"), reason: reason.to_owned() };
    // Where a table decides what runs as whom, it is opened directly, whatever the list says: the administrator named it
    // for this purpose.
    if !flags.contains(Flags::NO_PROXY) {
        let (kind, _) = open::split(name)?;
        let approved = settings.proxy_read_maps.iter().any(|allowed| allowed == name);
        let by_proxymap = matches!(settings.servers, Servers::Sockets(_)) && !(approved && remote::is_remote(kind));
        if by_proxymap {
            return Ok(Box::new(Remote::behind_proxymap(name, settings, flags)?));
        }
        if !approved {
            return Err(forbidden("the table is not approved for read-only access by proxy_read_maps"));
        }
    }
    let utf8 = settings.utf8 && !flags.contains(Flags::NO_UTF8);
    open::source(name, settings, flags, utf8)
}
