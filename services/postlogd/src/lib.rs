//! posthouse-postlogd.
