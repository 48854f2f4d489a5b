//! `mongodb:`: a search in a collection.
//!
//! The protocol is spoken here: one command for the log-in, one for the search. Keys are put into the strings of the filter after
//! its JSON was read, so that no key can become part of the filter's structure.

mod bson;
mod connection;
mod uri;

use std::time::Duration;

use bstr::{BString, ByteSlice};
use config::Config;
use table_server::{
    Attributes, Connector, Fault, Host, Pool, PoolSettings, Results, TableType, Templates, Tls, Wire, verbatim,
};

use crate::bson::{Document, Value, from_json};
use crate::connection::{Connection, Login};
use crate::uri::Uri;

/// For one server to answer.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Most documents of an answer.
const MOST_DOCUMENTS: i32 = 10_000;
/// How deep arrays of results may nest.
const DEEPEST: usize = 10;

/// A table in a collection.
pub struct Mongodb {
    title: String,
    templates: Templates,
    filter: Document,
    projection: Document,
    /// The fields that are results; all, when a projection chooses them.
    fields: Vec<String>,
    database: String,
    collection: String,
    read_preference: String,
    pool: Pool<Servers>,
}

struct Servers(Login);

impl Connector for Servers {
    type Connection = Connection;

    async fn connect(&self, host: &Host) -> Result<Connection, Fault> {
        let wire = Wire::connect(host, TIME_LIMIT).await.map_err(Fault::new)?;
        Connection::start(host, wire, &self.0).await
    }
}

/// The strings of a document, in the order in which [`fill`] comes to them.
fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Text(text) => found.push(text.to_string()),
        Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        Value::Document(document) => document.0.iter().for_each(|(_, value)| strings(value, found)),
        _ => {}
    }
}

/// The document with its strings replaced, in order.
fn fill(value: &Value, next: &mut impl FnMut() -> BString) -> Value {
    match value {
        Value::Text(_) => Value::Text(next()),
        Value::Array(values) => Value::Array(values.iter().map(|value| fill(value, next)).collect()),
        Value::Document(document) => Value::Document(Document(
            document.0.iter().map(|(name, value)| (name.clone(), fill(value, next))).collect(),
        )),
        other => other.clone(),
    }
}

impl TableType for Mongodb {
    const PROGRAM: &'static str = "table-mongodb";
    const KINDS: &'static [&'static str] = &["mongodb"];

    fn open(kind: &str, name: &str, config: &Config) -> Result<Self, Fault> {
        let attributes = Attributes::load(kind, name, config)?;
        let title = attributes.title().to_owned();
        let uri =
            Uri::parse(&attributes.required("uri")?).map_err(|reason| Fault(format!("{title}: uri: {reason}")))?;
        let json = |name: &str, text: &str| {
            from_json(text).map_err(|reason| Fault(format!("{title}: {name}: {reason}: {text}")))
        };
        let filter = json("query_filter", &attributes.required("query_filter")?)?;
        let projection = match attributes.optional("projection") {
            Some(text) => json("projection", &text)?,
            None => Document::default(),
        };
        let fields = attributes.words("result_attribute", "");
        if fields.is_empty() == projection.0.is_empty() {
            return Err(Fault(format!("{title}: need either result_attribute or projection")));
        }
        let mut texts = Vec::new();
        strings(&Value::Document(filter.clone()), &mut texts);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let login = Login {
            user: uri.user,
            password: uri.password.unwrap_or_default(),
            source: uri.source,
            mechanism: uri.mechanism,
            tls: uri.tls.as_ref().map(Tls::load).transpose()?,
        };
        let settings = PoolSettings::load(&attributes, uri.hosts, TIME_LIMIT)?;
        Ok(Mongodb {
            templates: Templates::load(&attributes, &texts)?,
            filter,
            projection,
            fields,
            database: attributes.required("dbname")?,
            collection: attributes.required("collection")?,
            // Any member that can answer will do, the one that others copy from above all.
            read_preference: uri.read_preference.unwrap_or_else(|| "primaryPreferred".to_owned()),
            pool: Pool::new(&title, Servers(login), settings),
            title,
        })
    }

    async fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        // Strings are UTF-8 there.
        if !self.templates.takes(key).await? || key.to_str().is_err() {
            return Ok(None);
        }
        let mut number = 0;
        let mut next = || {
            number += 1;
            // An empty string of the filter stays one.
            self.templates.query(number - 1, key, &verbatim).unwrap_or_default().into()
        };
        let filter = fill(&Value::Document(self.filter.clone()), &mut next);
        let mut find = Document::default().with("find", self.collection.as_str()).with("filter", filter);
        if self.fields.is_empty() {
            find = find.with("projection", self.projection.clone());
        } else {
            let chosen = self.fields.iter().map(|field| (field.clone(), Value::Int32(1))).collect();
            find = find.with("projection", Document(chosen).with("_id", 0));
        }
        let find = find
            .with("limit", MOST_DOCUMENTS)
            .with("batchSize", MOST_DOCUMENTS)
            .with("singleBatch", true)
            .with("maxTimeMS", i32::try_from(TIME_LIMIT.as_millis()).unwrap_or(i32::MAX))
            .with("$db", self.database.as_str())
            .with("$readPreference", Document::default().with("mode", self.read_preference.as_str()));
        let documents = self.pool.ask(async |connection: &mut Connection| connection.find(find.clone()).await).await?;
        let mut results = self.templates.results(key);
        for document in &documents {
            if self.fields.is_empty() {
                for (_, value) in &document.0 {
                    self.add(value, &mut results, 0)?;
                }
            }
            for field in &self.fields {
                if let Some(value) = document.path(field) {
                    self.add(value, &mut results, 0)?;
                }
            }
        }
        Ok(results.finish())
    }

    fn changed(&self) -> bool {
        self.templates.changed()
    }
}

impl Mongodb {
    fn add(&self, value: &Value, results: &mut Results<'_>, depth: usize) -> Result<(), Fault> {
        match value {
            Value::Text(text) => results.add(text),
            Value::Int32(number) => results.add(number.to_string().as_bytes()),
            Value::Int64(number) => results.add(number.to_string().as_bytes()),
            Value::Double(number) => results.add(number.to_string().as_bytes()),
            Value::Boolean(boolean) => results.add(if *boolean { b"true" } else { b"false" }),
            Value::Null => Ok(()),
            Value::ObjectId(id) => {
                let text: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
                results.add(text.as_bytes())
            }
            Value::Array(values) if depth < DEEPEST => {
                values.iter().try_for_each(|value| self.add(value, results, depth + 1))
            }
            Value::Array(_) | Value::Document(_) | Value::Binary(_) | Value::Date(_) | Value::Other => {
                Err(Fault(format!("{}: a result is neither text nor a number", self.title)))
            }
        }
    }
}
