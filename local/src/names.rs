//! What `forward_path` and `command_execution_directory` may name of a recipient, as harmless parts of a path.

use bstr::ByteSlice;
use config::ExpansionError;

use crate::settings::Settings;
use crate::user::Found;

/// The recipient of a delivery, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) settings: &'a Settings,
    /// None where no user answers for the delivery.
    pub(crate) user: Option<&'a Found>,
    /// The recipient address.
    pub(crate) address: &'a [u8],
}

impl Names<'_> {
    /// The text with its names expanded; characters of values that are not `allowed` become `_`.
    pub(crate) fn expand(&self, text: &str, allowed: &str) -> Result<String, ExpansionError> {
        let filtered = |value: String| value.chars().map(|c| if allowed.contains(c) { c } else { '_' }).collect();
        self.settings.config.expand(text, &|name: &str| self.value(name).map(filtered))
    }

    fn value(&self, name: &str) -> Option<String> {
        let (local, domain) = address::split(self.address);
        let extension = self.user.and_then(|user| user.extension.as_ref());
        // What the sender chose must stay one name.
        let safe = |bytes: &[u8]| {
            let text = bytes.to_str_lossy().into_owned();
            Some(text).filter(|text| !text.contains(['/', '\0']) && text != "." && text != "..")
        };
        match name {
            "home" => Some(self.user?.home.to_string_lossy().into_owned()),
            "user" => Some(self.user?.identity.name.clone()),
            "shell" => Some(self.user?.shell.to_string_lossy().into_owned()),
            "extension" => safe(extension?),
            // The one that was found.
            "recipient_delimiter" => {
                safe(extension?)?;
                let (base, _) = self.settings.delimiters.split(local)?;
                local.get(base.len()..=base.len()).map(|delimiter| delimiter.to_str_lossy().into_owned())
            }
            "local" => safe(local),
            "domain" => safe(domain?),
            "recipient" => safe(self.address),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;
    use nix::unistd::{Gid, Uid};
    use sys::privileges::Identity;

    #[test]
    fn values_and_what_a_sender_makes_of_them() {
        let config = Config::from_text("recipient_delimiter = +-\nmyhostname = h.example\n").expect("configuration");
        let settings = Settings::load(&config).expect("settings");
        let identity =
            Identity { name: "joe".into(), uid: Uid::from_raw(1000), gid: Gid::from_raw(1000), groups: Vec::new() };
        let expand = |text: &str, address: &str| {
            let extension = address.split(['+', '-', '@']).nth(1).filter(|_| address.contains(['+', '-']));
            let user = Found {
                identity: identity.clone(),
                home: "/home/joe".into(),
                shell: "/bin/sh".into(),
                extension: extension.map(Into::into),
            };
            let names = Names { settings: &settings, user: Some(&user), address: address.as_bytes() };
            names.expand(text, &config.string("forward_expansion_filter").expect("filter")).expect("expanded")
        };
        let forward = "$home/.forward${recipient_delimiter}${extension}";
        assert_eq!(expand(forward, "joe@h.example"), "/home/joe/.forward");
        assert_eq!(expand(forward, "joe+a@h.example"), "/home/joe/.forward+a");
        assert_eq!(expand(forward, "joe-a@h.example"), "/home/joe/.forward-a", "the delimiter of the address");
        assert_eq!(expand(forward, "joe+a b;c@h.example"), "/home/joe/.forward+a_b_c");
        assert_eq!(expand(forward, "joe+../x@h.example"), "/home/joe/.forward", "one name, or none");
        assert_eq!(expand("/lists/$local/$domain/$user", "joe+a@h.example"), "/lists/joe+a/h.example/joe");
        assert_eq!(expand("/lists/$local", "joe+/../../etc@h.example"), "/lists/");
    }
}
