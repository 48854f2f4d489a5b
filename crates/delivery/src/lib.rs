//! posthouse-delivery.
