//! posthouse-discard.
