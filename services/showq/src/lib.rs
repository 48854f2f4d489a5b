//! posthouse-showq.
