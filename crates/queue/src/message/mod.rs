//! Whole messages: `C` and the envelope, `M` and the content, `X` and what was extracted from it, `E`.

mod content;
mod edit;
mod envelope;
mod recipients;
mod size;
mod writer;

pub use content::{Content, Line};
pub use edit::{kill_record, mark_done, mark_warned};
pub use envelope::{ENVELOPE_LIMIT, Envelope, Place, Reader, Warning};
pub use recipients::{Batch, Position, Recipient};
pub(crate) use size::listed_size;
pub use size::{SEND_OPTIONS, SIZE_DATA, SizeRecord};
pub use writer::{Options, Places, Summary, Writer};

#[cfg(test)]
mod tests;
