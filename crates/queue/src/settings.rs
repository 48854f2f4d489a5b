//! What the configuration says about the queue. Every program reads it once, at its start.

use config::{Config, Error};

use crate::{Layout, Spool, log_file, message};

impl Layout {
    /// From `hash_queue_names`, `hash_queue_depth` and `enable_long_queue_ids`.
    ///
    /// # Errors
    /// Those of the configuration.
    pub fn load(config: &Config) -> Result<Layout, Error> {
        let depth = usize::try_from(config.int("hash_queue_depth")?).unwrap_or(1);
        Ok(Layout::new(&config.string("hash_queue_names")?, depth, config.bool("enable_long_queue_ids")?))
    }
}

impl Spool {
    /// The spool in the working directory, which daemons have in `queue_directory`.
    ///
    /// # Errors
    /// Those of the configuration.
    pub fn open(config: &Config) -> Result<Spool, Error> {
        Ok(Spool::new(Layout::load(config)?))
    }
}

impl log_file::Append {
    /// From `backwards_bounce_logfile_compatibility`, `deliver_lock_attempts` and `deliver_lock_delay`; durable.
    ///
    /// # Errors
    /// Those of the configuration.
    pub fn load(config: &Config) -> Result<log_file::Append, Error> {
        Ok(log_file::Append {
            old_form: config.bool("backwards_bounce_logfile_compatibility")?,
            attempts: u32::try_from(config.int("deliver_lock_attempts")?).unwrap_or(1),
            delay: config.time("deliver_lock_delay")?,
            durable: true,
        })
    }
}

impl message::Options {
    /// From `line_length_limit`; without places for milters, which depend on the message.
    ///
    /// # Errors
    /// Those of the configuration.
    pub fn load(config: &Config) -> Result<message::Options, Error> {
        let line_length_limit = usize::try_from(config.int("line_length_limit")?).unwrap_or(2048);
        Ok(message::Options { line_length_limit, milter_places: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Directory;

    #[test]
    fn defaults_and_changes() {
        let config = Config::from_text("").expect("defaults");
        assert_eq!(Layout::load(&config).expect("layout"), Layout::default());
        assert_eq!(log_file::Append::load(&config).expect("append"), log_file::Append::default());
        assert_eq!(message::Options::load(&config).expect("options"), message::Options::default());
        let text = "hash_queue_names = incoming, active\nhash_queue_depth = 3\nenable_long_queue_ids = yes\n";
        let config = Config::from_text(text).expect("configuration");
        let layout = Layout::load(&config).expect("layout");
        let hashed = vec![Directory::Incoming, Directory::Active];
        assert_eq!(layout, Layout { hashed, depth: 3, long_ids: true });
    }
}
