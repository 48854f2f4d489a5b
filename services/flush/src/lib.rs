//! posthouse-flush.
