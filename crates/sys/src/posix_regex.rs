//! POSIX regular expressions of the C library: `regcomp(3)`, `regexec(3)`.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Most groups that [`PosixRegex::captures`] reports, the whole match included.
pub const MAX_GROUPS: usize = 100;

/// How a pattern is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `REG_EXTENDED`.
    pub extended: bool,
    /// `REG_ICASE`.
    pub ignore_case: bool,
    /// `REG_NEWLINE`: lines matter to `^`, `$`, `.` and negated sets.
    pub newline: bool,
}

/// A compiled expression. Matching is leftmost-longest as POSIX has it.
pub struct PosixRegex {
    compiled: Box<libc::regex_t>,
    groups: usize,
}

/// Number of groups in parentheses. (`re_nsub` has no portable name in `libc`.)
fn count_groups(pattern: &[u8], extended: bool) -> usize {
    let (mut groups, mut at) = (0, 0);
    while let Some(byte) = pattern.get(at) {
        match byte {
            b'\\' => {
                groups += usize::from(!extended && pattern.get(at + 1) == Some(&b'('));
                at += 1;
            }
            b'(' => groups += usize::from(extended),
            b'[' => at = end_of_bracket(pattern, at),
            _ => {}
        }
        at += 1;
    }
    groups
}

/// Index of the `]` that ends the bracket expression starting at `start`; the end of the pattern when none does.
#[must_use]
pub fn end_of_bracket(pattern: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    at += usize::from(pattern.get(at) == Some(&b'^'));
    // A `]` in the first place is a member.
    at += usize::from(pattern.get(at) == Some(&b']'));
    while let Some(byte) = pattern.get(at) {
        match (byte, pattern.get(at + 1)) {
            (b']', _) => return at,
            (b'[', Some(kind @ (b':' | b'.' | b'='))) => {
                let close = [*kind, b']'];
                match pattern[at + 2..].windows(2).position(|pair| pair == close) {
                    Some(length) => at += length + 4,
                    None => at += 1,
                }
            }
            _ => at += 1,
        }
    }
    pattern.len()
}

impl PosixRegex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// The library's message.
    pub fn compile(pattern: &CStr, options: Options) -> Result<Self, String> {
        let mut flags = 0;
        for (set, flag) in [
            (options.extended, libc::REG_EXTENDED),
            (options.ignore_case, libc::REG_ICASE),
            (options.newline, libc::REG_NEWLINE),
        ] {
            if set {
                flags |= flag;
            }
        }
        let mut compiled = Box::new(MaybeUninit::<libc::regex_t>::zeroed());
        // SAFETY: the structure is ours and writable, the pattern is NUL-terminated.
        let code = unsafe { libc::regcomp(compiled.as_mut_ptr(), pattern.as_ptr(), flags) };
        if code == 0 {
            // SAFETY: regcomp succeeded, so it has filled the structure in.
            let compiled = unsafe { compiled.assume_init() };
            return Ok(Self { compiled, groups: count_groups(pattern.to_bytes(), options.extended) });
        }
        let mut message = vec![0_u8; 256];
        // SAFETY: the buffer is as long as we say; regerror accepts the structure of a failed regcomp.
        unsafe { libc::regerror(code, compiled.as_ptr(), message.as_mut_ptr().cast(), message.len()) };
        let text = CStr::from_bytes_until_nul(&message).map(CStr::to_owned).unwrap_or_else(|_| CString::default());
        Err(text.to_string_lossy().into_owned())
    }

    /// Number of groups in parentheses.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Whether the expression matches somewhere in `subject`.
    ///
    /// # Errors
    /// The library's message, in practice that it is out of memory.
    pub fn is_match(&self, subject: &CStr) -> Result<bool, String> {
        self.execute(subject, &mut [])
    }

    /// Where the whole match (index 0) and the groups are; groups that took no part are `None`.
    ///
    /// # Errors
    /// As [`Self::is_match`].
    pub fn captures(&self, subject: &CStr) -> Result<Option<Vec<Option<Range<usize>>>>, String> {
        let groups = (self.groups() + 1).min(MAX_GROUPS);
        let mut matches = vec![libc::regmatch_t { rm_so: -1, rm_eo: -1 }; groups];
        if !self.execute(subject, &mut matches)? {
            return Ok(None);
        }
        let range = |found: &libc::regmatch_t| {
            let start = usize::try_from(found.rm_so).ok()?;
            let end = usize::try_from(found.rm_eo).ok()?;
            Some(start..end)
        };
        Ok(Some(matches.iter().map(range).collect()))
    }

    fn execute(&self, subject: &CStr, matches: &mut [libc::regmatch_t]) -> Result<bool, String> {
        // SAFETY: the expression is compiled and only read, the subject is NUL-terminated, `matches` is as long as said.
        let code = unsafe {
            libc::regexec(&raw const *self.compiled, subject.as_ptr(), matches.len(), matches.as_mut_ptr(), 0)
        };
        match code {
            0 => Ok(true),
            libc::REG_NOMATCH => Ok(false),
            code => Err(format!("regexec: error {code}")),
        }
    }
}

impl Drop for PosixRegex {
    fn drop(&mut self) {
        // SAFETY: compiled by regcomp and freed once.
        unsafe { libc::regfree(&raw mut *self.compiled) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERE: Options = Options { extended: true, ignore_case: true, newline: false };

    #[test]
    fn leftmost_longest_with_groups() {
        let regex = PosixRegex::compile(c"(a|ab)(c|bcd)?(x)?", ERE).expect("compiles");
        assert_eq!(regex.groups(), 3);
        let found = regex.captures(c"zABCD").expect("runs").expect("matches");
        assert_eq!(found, [Some(1..5), Some(1..2), Some(2..5), None]);
        assert_eq!(regex.is_match(c"xyz"), Ok(false));
    }

    #[test]
    fn groups_are_counted() {
        for (pattern, extended, groups) in [
            ("(a)(b(c))", true, 3),
            ("\\(a\\)(b)", false, 1),
            ("[(]([])(]x)\\(", true, 1),
            ("[^]([:alpha:](](x)", true, 1),
        ] {
            assert_eq!(count_groups(pattern.as_bytes(), extended), groups, "{pattern}");
        }
    }

    #[test]
    fn errors_have_the_librarys_words() {
        assert!(PosixRegex::compile(c"(a", ERE).is_err_and(|message| !message.is_empty()));
    }
}
