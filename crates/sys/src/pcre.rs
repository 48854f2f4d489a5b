//! PCRE2 for patterns that are bytes, with the options that `pcre:` tables offer and the `pcre2` crate does not.

use std::ptr::{self, NonNull};
use std::slice;

use pcre2_sys as ffi;

/// How a pattern is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `PCRE2_CASELESS`.
    pub caseless: bool,
    /// `PCRE2_DOTALL`.
    pub dot_all: bool,
    /// `PCRE2_MULTILINE`.
    pub multi_line: bool,
    /// `PCRE2_EXTENDED`.
    pub extended: bool,
    /// `PCRE2_ANCHORED`.
    pub anchored: bool,
    /// `PCRE2_DOLLAR_ENDONLY`.
    pub dollar_end_only: bool,
    /// `PCRE2_UNGREEDY`.
    pub ungreedy: bool,
    /// `PCRE2_UTF`: pattern and subjects are UTF-8.
    pub utf: bool,
}

impl Options {
    fn bits(self) -> u32 {
        [
            (self.caseless, ffi::PCRE2_CASELESS),
            (self.dot_all, ffi::PCRE2_DOTALL),
            (self.multi_line, ffi::PCRE2_MULTILINE),
            (self.extended, ffi::PCRE2_EXTENDED),
            (self.anchored, ffi::PCRE2_ANCHORED),
            (self.dollar_end_only, ffi::PCRE2_DOLLAR_ENDONLY),
            (self.ungreedy, ffi::PCRE2_UNGREEDY),
            (self.utf, ffi::PCRE2_UTF),
        ]
        .into_iter()
        .fold(0, |bits, (set, flag)| if set { bits | flag } else { bits })
    }
}

/// A pattern that does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error at offset {offset}: {message}")]
pub struct CompileError {
    /// Byte offset in the pattern.
    pub offset: usize,
    /// The library's message.
    pub message: String,
}

/// A compiled pattern with the memory for its matches; for one thread.
pub struct Pcre {
    code: NonNull<ffi::pcre2_code_8>,
    matches: NonNull<ffi::pcre2_match_data_8>,
    groups: usize,
}

impl Pcre {
    /// Compiles `pattern`, to machine code where the platform can.
    ///
    /// # Errors
    /// The library's message and the offset it is about.
    pub fn compile(pattern: &[u8], options: Options) -> Result<Self, CompileError> {
        let (mut code, mut offset) = (0, 0);
        // SAFETY: the pattern is read for the length given; the two results are ours.
        let compiled = unsafe {
            ffi::pcre2_compile_8(
                pattern.as_ptr(),
                pattern.len(),
                options.bits(),
                &raw mut code,
                &raw mut offset,
                ptr::null_mut(),
            )
        };
        let compiled = NonNull::new(compiled).ok_or_else(|| CompileError { offset, message: message(code) })?;
        // SAFETY: just compiled. Where there is no JIT the call fails and matching is interpreted.
        unsafe { ffi::pcre2_jit_compile_8(compiled.as_ptr(), ffi::PCRE2_JIT_COMPLETE) };
        let mut groups = 0_u32;
        // SAFETY: PCRE2_INFO_CAPTURECOUNT writes one u32.
        unsafe {
            ffi::pcre2_pattern_info_8(compiled.as_ptr(), ffi::PCRE2_INFO_CAPTURECOUNT, (&raw mut groups).cast());
        }
        // SAFETY: a valid pattern; null means the default allocator.
        let matches = unsafe { ffi::pcre2_match_data_create_from_pattern_8(compiled.as_ptr(), ptr::null_mut()) };
        let Some(matches) = NonNull::new(matches) else {
            // SAFETY: compiled above and not used any more.
            unsafe { ffi::pcre2_code_free_8(compiled.as_ptr()) };
            return Err(CompileError { offset: 0, message: "out of memory".to_owned() });
        };
        Ok(Self { code: compiled, matches, groups: groups as usize })
    }

    /// Number of groups in parentheses.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Matches; `with` sees the start and end of the whole match and of each group, in pairs. A group that took no part
    /// has `usize::MAX` in both.
    ///
    /// # Errors
    /// The library's message: a limit is exceeded, or the subject is not UTF-8.
    pub fn matches<T>(&self, subject: &[u8], with: impl FnOnce(&[usize]) -> T) -> Result<Option<T>, String> {
        let mut code = self.execute(subject, 0);
        if code == ffi::PCRE2_ERROR_JIT_STACKLIMIT {
            // The interpreter keeps its state on the heap.
            code = self.execute(subject, ffi::PCRE2_NO_JIT);
        }
        match code {
            ffi::PCRE2_ERROR_NOMATCH => Ok(None),
            code if code < 0 => Err(message(code)),
            _ => {
                // SAFETY: after a match the vector holds a pair for the whole and each group; it is copied at once.
                let offsets = unsafe {
                    slice::from_raw_parts(
                        ffi::pcre2_get_ovector_pointer_8(self.matches.as_ptr()),
                        2 * ffi::pcre2_get_ovector_count_8(self.matches.as_ptr()) as usize,
                    )
                }
                .to_vec();
                Ok(Some(with(&offsets)))
            }
        }
    }

    /// Whether the pattern matches somewhere in `subject`.
    ///
    /// # Errors
    /// As [`Self::matches`].
    pub fn is_match(&self, subject: &[u8]) -> Result<bool, String> {
        match self.execute(subject, 0) {
            ffi::PCRE2_ERROR_JIT_STACKLIMIT => match self.execute(subject, ffi::PCRE2_NO_JIT) {
                ffi::PCRE2_ERROR_NOMATCH => Ok(false),
                code if code < 0 => Err(message(code)),
                _ => Ok(true),
            },
            ffi::PCRE2_ERROR_NOMATCH => Ok(false),
            code if code < 0 => Err(message(code)),
            _ => Ok(true),
        }
    }

    fn execute(&self, subject: &[u8], options: u32) -> i32 {
        // SAFETY: pattern and match data belong together; the subject is read for the length given. The type is neither
        // Send nor Sync, so nobody else uses the match data during the call.
        unsafe {
            ffi::pcre2_match_8(
                self.code.as_ptr(),
                subject.as_ptr(),
                subject.len(),
                0,
                options,
                self.matches.as_ptr(),
                ptr::null_mut(),
            )
        }
    }
}

impl Drop for Pcre {
    fn drop(&mut self) {
        // SAFETY: both were created with the pattern and are freed once.
        unsafe {
            ffi::pcre2_match_data_free_8(self.matches.as_ptr());
            ffi::pcre2_code_free_8(self.code.as_ptr());
        }
    }
}

/// The library's text for an error code.
fn message(code: i32) -> String {
    let mut text = [0_u8; 256];
    // SAFETY: the buffer is as long as said; the result is its length or negative.
    let length = unsafe { ffi::pcre2_get_error_message_8(code, text.as_mut_ptr(), text.len()) };
    match usize::try_from(length) {
        Ok(length) => String::from_utf8_lossy(&text[..length]).into_owned(),
        Err(_) => format!("error {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(pattern: &str, options: Options) -> Pcre {
        Pcre::compile(pattern.as_bytes(), options).expect(pattern)
    }

    #[test]
    fn groups_and_options() {
        let pcre = compile("a(b)?(c)", Options { caseless: true, ..Options::default() });
        assert_eq!(pcre.groups(), 2);
        let offsets = pcre.matches(b"xAC", <[usize]>::to_vec).expect("runs").expect("matches");
        assert_eq!(offsets, [1, 3, usize::MAX, usize::MAX, 2, 3]);
        let end_only = compile("a$", Options { dollar_end_only: true, ..Options::default() });
        assert_eq!(end_only.is_match(b"a\n"), Ok(false));
        assert_eq!(compile("a$", Options::default()).is_match(b"a\n"), Ok(true));
        assert_eq!(compile("b", Options { anchored: true, ..Options::default() }).is_match(b"ab"), Ok(false));
        assert!(compile("b", Options { utf: true, ..Options::default() }).is_match(b"\xff").is_err());
    }

    #[test]
    fn errors_have_an_offset() {
        let error = Pcre::compile(b"a(b", Options::default()).err().expect("unbalanced");
        assert_eq!(error.offset, 3);
    }

    #[test]
    fn runaway_matches_are_errors() {
        let pcre = compile("(a+)+$", Options::default());
        let subject = [&[b'a'; 5000][..], b"b"].concat();
        assert!(pcre.is_match(&subject).is_err());
    }
}
