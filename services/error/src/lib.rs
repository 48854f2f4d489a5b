//! posthouse-error.
