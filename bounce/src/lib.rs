//! posthouse-bounce.
