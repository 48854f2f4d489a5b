//! `proxy:type:name`: opens the table itself, within the limits of the reference's table server.
//!
//! A lookup by a table server is a later step; until then `proxy:` keeps its rule that only tables named in
//! `proxy_read_maps` are served.

use crate::error::Error;
use crate::flags::Flags;
use crate::open;
use crate::settings::Settings;
use crate::table::Source;

/// Opens the table behind `proxy:`.
pub(crate) fn open(name: &str, settings: &Settings, flags: Flags) -> Result<Box<dyn Source>, Error> {
    let forbidden = |reason: &str| Error::Forbidden { name: format!("proxy:{name}"), reason: reason.to_owned() };
    // Where a table decides what runs as whom, it is opened directly, whatever the list says: the administrator named it
    // for this purpose.
    if !flags.contains(Flags::NO_PROXY) && !settings.proxy_read_maps.iter().any(|allowed| allowed == name) {
        return Err(forbidden("the table is not approved for read-only access by proxy_read_maps"));
    }
    let utf8 = settings.utf8 && !flags.contains(Flags::NO_UTF8);
    open::source(name, settings, flags, utf8)
}
