//! posthouse-postkick.
