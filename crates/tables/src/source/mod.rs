//! Source text of tables: logical lines, `key value` lines (postmap, texthash) and alias lines (postalias).

mod alias;
mod logical_lines;
mod map_line;

pub use alias::{AliasError, AliasLine, parse_alias};
pub use logical_lines::{LogicalLine, LogicalLines};
pub use map_line::{MapLine, MapLineError, parse_map_line};
