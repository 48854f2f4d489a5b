//! posthouse-smtp.
