//! Whether the queue's file system has room for another message (`queue_minfree`, `message_size_limit`).

use std::path::Path;

/// True when there is room: more than `minimum` bytes free, and one and a half times the largest message. Says so in the
/// log when there is not. A file system that cannot be asked is taken to have room: cleanup will notice.
pub(crate) fn has_room(queue_directory: &Path, minimum: u64, message_size_limit: u64) -> bool {
    let Ok(status) = nix::sys::statvfs::statvfs(queue_directory) else { return true };
    let free = status.blocks_available().saturating_mul(status.fragment_size());
    let sufficient = is_sufficient(free, minimum, message_size_limit);
    if let Err(what) = sufficient {
        log::warning!("not enough free space in mail queue: {free} bytes < {what}");
    }
    sufficient.is_ok()
}

fn is_sufficient(free: u64, minimum: u64, message_size_limit: u64) -> Result<(), &'static str> {
    if minimum > 0 && free <= minimum {
        return Err("queue_minfree");
    }
    if message_size_limit > 0 && free / 3 * 2 <= message_size_limit {
        return Err("1.5*message size limit");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_sufficient;

    #[test]
    fn table() {
        assert!(is_sufficient(1_000, 0, 0).is_ok());
        assert!(is_sufficient(1_000, 1_000, 0).is_err());
        assert!(is_sufficient(1_001, 1_000, 0).is_ok());
        assert!(is_sufficient(1_500, 0, 1_000).is_err());
        assert!(is_sufficient(1_600, 0, 1_000).is_ok());
    }
}
