//! posthouse-cleanup.
