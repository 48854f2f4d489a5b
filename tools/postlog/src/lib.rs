//! posthouse-postlog.
