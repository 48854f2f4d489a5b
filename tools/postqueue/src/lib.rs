//! posthouse-postqueue.
