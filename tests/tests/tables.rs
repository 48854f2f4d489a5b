//! Tables behind servers: the real servers of the distribution, and false ones that do what no real one does.

#[path = "tables/ask.rs"]
mod ask;
#[path = "tables/cache.rs"]
mod cache;
#[path = "tables/directory.rs"]
mod directory;
#[path = "tables/false_servers.rs"]
mod false_servers;
#[path = "tables/instances.rs"]
mod instances;
#[path = "tables/sql.rs"]
mod sql;
