//! Who may submit mail (`authorized_submit_users`), and as whom (`local_login_sender_maps`).

use bstr::BString;
use config::Config;
use nix::unistd::{User, getuid};
use tables::{Flags, Kind, Maps, MatchList};

use crate::Fatal;

/// The user who runs the program; the kernel's word, not the environment's.
pub(crate) struct Submitter {
    pub(crate) uid: u32,
    pub(crate) name: String,
}

impl Submitter {
    pub(crate) fn current() -> Submitter {
        let uid = getuid();
        let name = User::from_uid(uid).ok().flatten().map_or_else(|| "unknown".to_owned(), |user| user.name);
        Submitter { uid: uid.as_raw(), name }
    }

    /// `authorized_submit_users`
    pub(crate) fn check(&self, config: &Config) -> Result<(), Fatal> {
        const PARAMETER: &str = "authorized_submit_users";
        let list = config.string(PARAMETER)?;
        if list == "static:anyone" {
            return Ok(());
        }
        let failed = |problem: String| Fatal::Table(PARAMETER, problem);
        let list =
            MatchList::open(&list, config, PARAMETER, Kind::Strings, false).map_err(|e| failed(e.to_string()))?;
        match list.matches_blocking(self.name.as_bytes()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fatal::Submitter(self.name.clone(), self.uid)),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// `local_login_sender_maps`: the login name, then `uid:` and number, lead to the senders that are allowed; `*` is
    /// all of them, `@domain` all of a domain. The null sender goes by
    /// `empty_address_local_login_sender_maps_lookup_key`.
    pub(crate) fn may_send_as(&self, sender: &[u8], config: &Config) -> Result<bool, String> {
        const PARAMETER: &str = "local_login_sender_maps";
        let text = |error: config::Error| error.to_string();
        let spec = config.string(PARAMETER).map_err(text)?;
        if spec.is_empty() || spec == "static:*" {
            return Ok(true);
        }
        let maps = Maps::open(&spec, config, PARAMETER, Flags::DEFAULT).map_err(|error| error.to_string())?;
        let uid = format!("uid:{}", self.uid);
        for key in [self.name.as_str(), uid.as_str()] {
            let hit = maps.lookup_blocking(key.as_bytes()).map_err(|error| error.to_string())?;
            let Some(hit) = hit else { continue };
            let empty = config.string("empty_address_local_login_sender_maps_lookup_key").map_err(text)?;
            let origin = config.string("myorigin").map_err(text)?;
            return Ok(allows(&hit.value, sender, empty.as_bytes(), origin.as_bytes()));
        }
        Ok(false)
    }
}

fn allows(patterns: &[u8], sender: &[u8], empty: &[u8], origin: &[u8]) -> bool {
    let sender = match sender {
        b"" => BString::from(empty),
        bare if !bare.contains(&b'@') => address::external(&address::join(bare, Some(origin))),
        full => address::external(full),
    };
    let words = patterns.split(|byte| byte.is_ascii_whitespace() || *byte == b',').filter(|word| !word.is_empty());
    let (_, domain) = address::split(&sender);
    words.into_iter().any(|word| match word {
        b"*" => true,
        _ if word.starts_with(b"@") => domain.is_some_and(|domain| domain.eq_ignore_ascii_case(&word[1..])),
        _ if !word.contains(&b'@') && word != empty => address::join(word, Some(origin)).eq_ignore_ascii_case(&sender),
        _ => word.eq_ignore_ascii_case(&sender),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders() {
        let cases = [
            ("*", "a@b", true),
            ("a@b, c@d", "C@D", true),
            ("a@b", "", false),
            ("<> a@b", "", true),
            ("@dom", "x@DOM", true),
            ("joe", "joe", true),
            ("joe", "joe@origin", true),
            ("joe", "jim", false),
            ("joe@elsewhere", "joe", false),
        ];
        for (patterns, sender, allowed) in cases {
            assert_eq!(
                allows(patterns.as_bytes(), sender.as_bytes(), b"<>", b"origin"),
                allowed,
                "{patterns} {sender}"
            );
        }
    }
}
