//! posthouse-postcat.
