//! What a user of a table asks for besides its name.

use std::ops::BitOr;

/// How a table is opened; combine with `|`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Flags(u16);

impl Flags {
    /// Keys of fixed tables are case-folded, UTF-8 is checked when `smtputf8_enable` is set, anything goes.
    pub const DEFAULT: Self = Self(0);
    /// Pattern tables may not put parts of the key into the result (`alias_maps`, `virtual_uid_maps`, ...).
    pub const NO_REGSUB: Self = Self(1);
    /// `proxy:` is refused (tables that decide about a recipient's identity).
    pub const NO_PROXY: Self = Self(1 << 1);
    /// Tables that cannot authenticate their server (`tcp:`, `socketmap:`, `memcache:`) are refused.
    pub const NO_UNAUTH: Self = Self(1 << 2);
    /// Keys of fixed tables are looked up as given.
    pub const NO_FOLD: Self = Self(1 << 3);
    /// Keys of pattern tables are case-folded as well.
    pub const FOLD_PATTERNS: Self = Self(1 << 4);
    /// No UTF-8 checks or folding, whatever `smtputf8_enable` says (header and body checks).
    pub const NO_UTF8: Self = Self(1 << 5);
    /// Values are base64 encoded file contents (`postmap -F`); lookups decode them.
    pub const FILE_VALUES: Self = Self(1 << 6);
    /// An empty value is a result; otherwise it is a configuration error (access tables treat it as OK).
    pub const EMPTY_VALUES: Self = Self(1 << 7);

    /// Whether every flag of `other` is set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags without those of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The flags as a number, for the way to a table server.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }

    /// The flags that [`Self::bits`] made a number of; bits that mean nothing are left out.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        Self(bits & 0xff)
    }

    /// The names in the style of the reference's "table ... has changed" log line: `0,lock|fold_fix|utf8_request`.
    #[must_use]
    pub fn log_names(self) -> String {
        let mut names = vec!["lock"];
        let named = [(Self::NO_REGSUB, "no_regsub"), (Self::NO_PROXY, "no_proxy"), (Self::NO_UNAUTH, "no_unauth")];
        names.extend(named.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, name)| *name));
        if !self.contains(Self::NO_FOLD) {
            names.push("fold_fix");
        }
        if self.contains(Self::FOLD_PATTERNS) {
            names.push("fold_mul");
        }
        if !self.contains(Self::NO_UTF8) {
            names.push("utf8_request");
        }
        if self.contains(Self::FILE_VALUES) {
            names.push("src_rhs_is_file");
        }
        format!("0,{}", names.join("|"))
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
