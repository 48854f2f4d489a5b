//! posthouse-postdrop.
