//! `texthash:`: a postmap source file, read whole when it is opened.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use bstr::{BStr, BString};

use crate::error::{Error, Fault};
use crate::file_watch::FileWatch;
use crate::flags::Flags;
use crate::fold;
use crate::source::{LogicalLines, parse_map_line};
use crate::table::{EachEntry, Owner, Source};

/// The entries of the file; the first of two equal keys wins.
pub(crate) struct TextHash {
    values: HashMap<BString, BString>,
    order: Vec<BString>,
    watch: FileWatch,
}

impl TextHash {
    pub(crate) fn open(name: &str, flags: Flags, utf8: bool) -> Result<Self, Error> {
        let path = Path::new(name);
        let failed = |source| Error::OpenDatabase { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let watch = FileWatch::by_content(&file).map_err(failed)?;
        let mut table = Self { values: HashMap::new(), order: Vec::new(), watch };
        for line in LogicalLines::new(BufReader::new(file)) {
            let line = line.map_err(failed)?;
            match parse_map_line(&line.text, utf8) {
                Ok((key, value, like_alias)) => {
                    if like_alias {
                        log::warning!(
                            "{name}, line {}: record is in \"key: value\" format; is this an alias file?",
                            line.line
                        );
                    }
                    let key = if flags.contains(Flags::NO_FOLD) { key.to_owned() } else { fold::fold(key, utf8) };
                    if table.values.contains_key(BStr::new(&key)) {
                        log::warning!("{name}, line {}: duplicate entry: \"{key}\"", line.line);
                        continue;
                    }
                    let value = if flags.contains(Flags::FILE_VALUES) {
                        match crate::file_values::encode(value) {
                            Ok(encoded) => encoded,
                            Err(reason) => {
                                log::warning!("{name}, line {}: {reason}: skipping this entry", line.line);
                                continue;
                            }
                        }
                    } else {
                        value.to_owned()
                    };
                    table.values.insert(key.clone(), value);
                    table.order.push(key);
                }
                Err(reason) => log::warning!("{name}, line {}: {reason}", line.line),
            }
        }
        Ok(table)
    }
}

impl Source for TextHash {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        Ok(self.values.get(BStr::new(key)).cloned())
    }

    fn has_changed(&self) -> bool {
        self.watch.has_changed()
    }

    fn owner(&self) -> Owner {
        self.watch.owner()
    }

    fn entries(&self, each: &mut EachEntry<'_>) -> Option<Result<(), Fault>> {
        Some(self.order.iter().try_for_each(|key| each(key, &self.values[key])).map_err(Fault::from))
    }
}
