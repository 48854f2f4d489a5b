//! The warning about an index that is older than its source text.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A source that was written this recently may be being indexed right now.
const SETTLED: Duration = Duration::from_secs(100);

/// Warns when the source file was changed after the index was built.
pub(crate) fn warn_if_older_than_source(index: &File, index_path: &Path, source: &Path) {
    let (Ok(index), Ok(source_metadata)) = (index.metadata(), fs::metadata(source)) else { return };
    let (Ok(built), Ok(changed)) = (index.modified(), source_metadata.modified()) else { return };
    if changed > built && SystemTime::now().duration_since(changed).is_ok_and(|age| age > SETTLED) {
        log::warning!("database {} is older than source file {}", index_path.display(), source.display());
    }
}
