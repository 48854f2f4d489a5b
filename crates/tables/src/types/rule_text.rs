//! Where rules of pattern tables come from: the logical lines of a file, or `{ {rule}, {rule} }` in the name itself.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use bstr::BString;

use crate::error::Error;
use crate::file_watch::FileWatch;
use crate::list;
use crate::source::LogicalLines;

/// The rules as text, with line numbers for warnings, and the file to watch when there is one.
pub(crate) struct RuleText {
    pub(crate) lines: Vec<(BString, usize)>,
    pub(crate) watch: Option<FileWatch>,
}

impl RuleText {
    /// Reads the rules of `kind:name`.
    pub(crate) fn read(kind: &str, name: &str) -> Result<Self, Error> {
        if name.starts_with('{') {
            return Self::inline(kind, name);
        }
        let failed = |source| Error::Open { path: name.into(), source };
        let file = File::open(Path::new(name)).map_err(failed)?;
        let watch = Some(FileWatch::by_content(&file).map_err(failed)?);
        let lines = LogicalLines::new(BufReader::new(file))
            .map(|line| line.map(|line| (line.text, line.line)))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        Ok(Self { lines, watch })
    }

    fn inline(kind: &str, name: &str) -> Result<Self, Error> {
        let bad = |reason: String| Error::Name { name: format!("{kind}:{name}"), reason };
        let text = list::braced(name).ok_or_else(|| bad("unbalanced braces".to_owned()))?;
        let mut lines = Vec::new();
        for (number, element) in list::split(text).enumerate() {
            let rule =
                list::braced(element).ok_or_else(|| bad(format!("no '{{' at start of text in \"{element}\"")))?;
            lines.push((rule.into(), number + 1));
        }
        Ok(Self { lines, watch: None })
    }
}

/// The word before white space (`if`, `endif`), when the line starts with it, ignoring case; and what follows.
pub(crate) fn keyword<'l>(line: &'l [u8], word: &str) -> Option<&'l [u8]> {
    let (head, rest) = line.split_at_checked(word.len())?;
    let boundary = rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric());
    (head.eq_ignore_ascii_case(word.as_bytes()) && boundary).then(|| rest.trim_ascii())
}
