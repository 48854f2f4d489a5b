//! posthouse-postalias.
