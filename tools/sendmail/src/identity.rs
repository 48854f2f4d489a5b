//! Who runs the program.

use bstr::BString;
use config::Config;
use tables::{Kind, MatchList};

/// The user, by the kernel's word.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) name: String,
    /// The first part of the GECOS field, `&` replaced by the name.
    gecos: Option<String>,
}

impl User {
    pub(crate) fn current() -> User {
        let uid = nix::unistd::getuid();
        match nix::unistd::User::from_uid(uid) {
            Ok(Some(user)) => {
                let gecos = full_name_of(&user.gecos.to_string_lossy(), &user.name);
                User { uid: uid.as_raw(), gecos: Some(gecos), name: user.name }
            }
            // Somebody without an entry submits as a number's name would.
            _ => User { uid: uid.as_raw(), name: "unknown".to_owned(), gecos: None },
        }
    }

    /// `authorized_submit_users`; postdrop asks again, with the last word.
    pub(crate) fn may_submit(&self, config: &Config) -> Result<bool, String> {
        const PARAMETER: &str = "authorized_submit_users";
        let list = config.string(PARAMETER).map_err(|error| error.to_string())?;
        if list == "static:anyone" {
            return Ok(true);
        }
        let list =
            MatchList::open(&list, config, PARAMETER, Kind::Strings, false).map_err(|error| error.to_string())?;
        list.matches_blocking(self.name.as_bytes()).map_err(|error| error.to_string())
    }

    /// The name for a From header: `-F`, `$NAME`, GECOS.
    pub(crate) fn full_name(&self, given: Option<&[u8]>) -> Option<BString> {
        use std::os::unix::ffi::OsStrExt;
        if let Some(given) = given {
            return Some(given.into());
        }
        if let Some(name) = std::env::var_os("NAME") {
            return Some(name.as_bytes().into());
        }
        self.gecos.as_deref().map(BString::from)
    }
}

/// GECOS up to the first comma; `&` stands for the login name with a capital.
fn full_name_of(gecos: &str, login: &str) -> String {
    let mut capital = login.to_owned();
    if let Some(first) = capital.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let end = gecos.find([',', ';', '%']).unwrap_or(gecos.len());
    gecos[..end].replace('&', &capital)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gecos() {
        assert_eq!(full_name_of("Joe Doe,Room 1,555", "joe"), "Joe Doe");
        assert_eq!(full_name_of("& Doe", "joe"), "Joe Doe");
        assert_eq!(full_name_of("", "joe"), "");
    }
}
