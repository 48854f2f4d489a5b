//! posthouse-rewrite.
