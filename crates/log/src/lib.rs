//! posthouse-log.
