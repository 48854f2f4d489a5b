//! The open log file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::settings::{Error, Settings};

/// How often the file's name is looked at, and write errors are reported.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// The open log file, or standard output.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
    /// Its name and identity; none for standard output, which is nobody's to rotate.
    named: Option<(PathBuf, u64, u64)>,
    looked: Instant,
    complained: Option<Instant>,
}

impl LogFile {
    /// Opens the file with the rights that the process has at its start.
    pub(crate) fn open(settings: &Settings) -> Result<LogFile, Error> {
        let failed = |source| Error::Open { file: settings.file.clone(), source };
        let looked = Instant::now();
        if settings.file.as_os_str() == "/dev/stdout" {
            let file = io::stdout().as_fd().try_clone_to_owned().map_err(failed)?.into();
            return Ok(LogFile { file, named: None, looked, complained: None });
        }
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(settings.permissions).open(&settings.file).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let named = metadata.is_file().then(|| (settings.file.clone(), metadata.dev(), metadata.ino()));
        Ok(LogFile { file, named, looked, complained: None })
    }

    /// Writes lines out. What cannot be written is lost, and syslog hears of it.
    pub(crate) fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        if let Err(error) = self.file.write_all(lines)
            && self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY)
        {
            self.complained = Some(Instant::now());
            log::warning!("write maillog_file: {error}");
        }
    }

    /// True when the name leads to another file by now, or to none: somebody has rotated the log. Only the next process
    /// has the rights to open it again.
    pub(crate) fn was_replaced(&mut self) -> bool {
        let Some((path, device, inode)) = &self.named else { return false };
        if self.looked.elapsed() < LOOK_EVERY {
            return false;
        }
        self.looked = Instant::now();
        match std::fs::metadata(path) {
            Ok(metadata) => (metadata.dev(), metadata.ino()) != (*device, *inode),
            // In a jail, or behind a directory that is closed to us, nothing can be said.
            Err(error) => error.kind() == io::ErrorKind::NotFound && path.parent().is_some_and(std::path::Path::exists),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;
    use std::os::unix::fs::PermissionsExt;

    fn open(path: &std::path::Path) -> LogFile {
        let text = format!("maillog_file = {}\nmaillog_file_permissions = 0640\n", path.display());
        let config = Config::from_text(&text).expect("configuration");
        let mut file = LogFile::open(&Settings::load(&config).expect("settings")).expect("open");
        file.looked = Instant::now().checked_sub(LOOK_EVERY).expect("clock");
        file
    }

    #[test]
    fn lines_are_appended() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("log");
        open(&path).write(b"one\n");
        open(&path).write(b"two\n");
        assert_eq!(std::fs::read(&path).expect("read"), b"one\ntwo\n");
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o7777 & !0o022, 0o640);
    }

    #[test]
    fn a_rotated_file_is_noticed() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("log");
        let mut file = open(&path);
        assert!(!file.was_replaced());
        std::fs::rename(&path, directory.path().join("log.1")).expect("rename");
        assert!(!file.was_replaced(), "asked too soon after the last look");
        file.looked = Instant::now().checked_sub(LOOK_EVERY).expect("clock");
        assert!(file.was_replaced());
        std::fs::write(&path, "").expect("write");
        file.looked = Instant::now().checked_sub(LOOK_EVERY).expect("clock");
        assert!(file.was_replaced());
    }
}
