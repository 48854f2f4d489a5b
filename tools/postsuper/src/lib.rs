//! posthouse-postsuper.
