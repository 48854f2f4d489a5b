//! posthouse-pickup.
