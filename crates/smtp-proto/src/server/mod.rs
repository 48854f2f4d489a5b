//! The receiving end.
