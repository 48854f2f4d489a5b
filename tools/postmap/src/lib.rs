//! posthouse-postmap.
