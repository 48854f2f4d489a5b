//! What the command line asks for.

/// What is shown, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each option letter")]
pub struct Options {
    /// `-e`
    pub envelope: bool,
    /// `-h`
    pub header: bool,
    /// `-b`
    pub body: bool,
    /// `-d`
    pub decimal_types: bool,
    /// `-f`
    pub file_names: bool,
    /// `-o`
    pub offsets: bool,
    /// `-q`
    pub search: bool,
    /// `-r`
    pub raw: bool,
    /// `-s`
    pub start: u64,
    /// `-v`
    pub verbose: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            envelope: true,
            header: true,
            body: true,
            decimal_types: false,
            file_names: false,
            offsets: false,
            search: false,
            raw: false,
            start: 0,
            verbose: false,
        }
    }
}
