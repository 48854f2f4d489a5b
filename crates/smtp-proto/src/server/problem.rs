//! Kinds of trouble in a session: those of `notify_classes` that a server can have.

use std::ops::{BitOr, BitOrAssign};

/// A set of kinds of trouble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Problems(u8);

impl Problems {
    /// None.
    pub const NONE: Problems = Problems(0);
    /// The client was refused (`policy`).
    pub const POLICY: Problems = Problems(1);
    /// The client does not keep to the protocol (`protocol`).
    pub const PROTOCOL: Problems = Problems(2);
    /// We lack a resource (`resource`).
    pub const RESOURCE: Problems = Problems(4);
    /// We are broken or misconfigured (`software`).
    pub const SOFTWARE: Problems = Problems(8);
    /// A lookup failed, data are corrupt (`data`).
    pub const DATA: Problems = Problems(16);

    /// From the value of `notify_classes`; classes that are other programs' business are left out.
    #[must_use]
    pub fn parse(text: &str) -> Problems {
        let mut set = Problems::NONE;
        for word in text.split(|c: char| c == ',' || c.is_ascii_whitespace()) {
            set |= match word.to_ascii_lowercase().as_str() {
                "policy" => Problems::POLICY,
                "protocol" => Problems::PROTOCOL,
                "resource" => Problems::RESOURCE,
                "software" => Problems::SOFTWARE,
                "data" => Problems::DATA,
                _ => Problems::NONE,
            };
        }
        set
    }

    /// True when the sets have something in common.
    #[must_use]
    pub const fn meets(self, other: Problems) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Problems) -> Problems {
        Problems(self.0 | other.0)
    }

    /// True when all of the other set is in this one.
    #[must_use]
    pub const fn includes(self, other: Problems) -> bool {
        other.0 & !self.0 == 0
    }

    /// The names, comma separated.
    #[must_use]
    pub fn names(self) -> String {
        const NAMES: [(Problems, &str); 5] = [
            (Problems::POLICY, "policy"),
            (Problems::PROTOCOL, "protocol"),
            (Problems::RESOURCE, "resource"),
            (Problems::SOFTWARE, "software"),
            (Problems::DATA, "data"),
        ];
        let names: Vec<&str> = NAMES.iter().filter(|(bit, _)| self.meets(*bit)).map(|(_, name)| *name).collect();
        names.join(", ")
    }
}

impl BitOr for Problems {
    type Output = Problems;

    fn bitor(self, other: Problems) -> Problems {
        Problems(self.0 | other.0)
    }
}

impl BitOrAssign for Problems {
    fn bitor_assign(&mut self, other: Problems) {
        self.0 |= other.0;
    }
}
