//! Templates of queries and results: `%s %u %d %1`..`%9 %S %U %D %%`; the `domain` list; the bound on results.
//!
//! What a key or value cannot fill is no error: such a key is not in the table, such a value is no result.

use bstr::{BString, ByteSlice};
use tables::{Kind, MatchList};

use crate::{Attributes, Fault};

/// Largest query, and largest result.
const LARGEST: usize = ipc::table::MAX_VALUE;

/// Makes bytes from outside harmless within the query's language.
pub type Quote<'q> = dyn Fn(&[u8], &mut Vec<u8>) + 'q;

/// The quoting of what needs none.
pub fn verbatim(text: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(text);
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    /// `s`, `u`, `d`; upper case in a result means the key.
    Letter(u8),
    /// `%1` is the last label of the key's domain.
    Label(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Template(Vec<Part>);

impl Template {
    fn parse(text: &str) -> Option<Template> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                literal.push(byte);
                continue;
            }
            let part = match bytes.next()? {
                b'%' => {
                    literal.push(b'%');
                    continue;
                }
                letter @ (b's' | b'u' | b'd' | b'S' | b'U' | b'D') => Part::Letter(letter),
                digit @ b'1'..=b'9' => Part::Label(usize::from(digit - b'0')),
                _ => return None,
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Some(Template(parts))
    }
}

/// A text and its parts, as templates see it.
#[derive(Clone, Copy)]
struct Address<'t> {
    whole: &'t [u8],
    user: &'t [u8],
    domain: Option<&'t [u8]>,
}

impl<'t> Address<'t> {
    fn of(whole: &'t [u8]) -> Address<'t> {
        match whole.rfind_byte(b'@') {
            Some(at) => Address { whole, user: &whole[..at], domain: Some(&whole[at + 1..]) },
            None => Address { whole, user: whole, domain: None },
        }
    }

    fn letter(&self, letter: u8) -> Option<&'t [u8]> {
        match letter.to_ascii_lowercase() {
            b'u' => Some(self.user).filter(|user| !user.is_empty()),
            b'd' => self.domain.filter(|domain| !domain.is_empty()),
            _ => Some(self.whole),
        }
    }

    fn label(&self, number: usize) -> Option<&'t [u8]> {
        self.domain?.rsplit(|byte| *byte == b'.').nth(number - 1).filter(|label| !label.is_empty())
    }

    /// Labels up to this one are there and not empty.
    fn has_labels(&self, count: usize) -> bool {
        (1..=count).all(|number| self.label(number).is_some())
    }
}

/// The templates of one table.
#[derive(Debug)]
pub struct Templates {
    title: String,
    queries: Vec<Template>,
    result: Template,
    domains: Option<MatchList>,
    expansion_limit: usize,
}

impl Templates {
    /// Reads `result_format` (or `result_filter`), `domain` and `expansion_limit`; `queries` are templates that a key fills.
    ///
    /// # Errors
    /// A template, number or list that makes no sense.
    pub fn load(attributes: &Attributes, queries: &[&str]) -> Result<Templates, Fault> {
        let title = attributes.title().to_owned();
        let parse = |what: &str, text: &str| {
            Template::parse(text).ok_or_else(|| Fault(format!("{title}: invalid {what} template: {text}")))
        };
        let old_format = attributes.text("result_filter", "%s");
        let format = attributes.optional("result_format").unwrap_or(old_format);
        let result = parse("result", &format)?;
        let queries = queries.iter().map(|query| parse("query", query)).collect::<Result<_, _>>()?;
        let domains = match attributes.optional("domain") {
            None => None,
            Some(list) => {
                let list = MatchList::open(&list, attributes.config(), "domain", Kind::Strings, false);
                Some(list.map_err(|error| Fault(format!("{title}: {error}")))?)
            }
        };
        let expansion_limit = attributes.number("expansion_limit", 0, 0)? as usize;
        Ok(Templates { title, queries, result, domains, expansion_limit })
    }

    /// Whether the key is one that the table is asked for at all: in one of the domains, and with all that the templates use.
    ///
    /// # Errors
    /// The list of domains has no answer now.
    pub async fn takes(&self, key: &[u8]) -> Result<bool, Fault> {
        let address = Address::of(key);
        // A NUL would end the query early for servers that count in C.
        if key.is_empty() || key.contains(&0) {
            return Ok(false);
        }
        if let Some(domains) = &self.domains {
            let Some(domain) = address.domain else { return Ok(false) };
            if address.user.is_empty() {
                return Ok(false);
            }
            let listed = domains.matches(domain).await.map_err(|error| Fault(error.to_string()))?;
            if !listed {
                return Ok(false);
            }
        }
        let fits = |part: &Part| match part {
            Part::Text(_) => true,
            Part::Letter(letter) => address.letter(*letter).is_some(),
            Part::Label(number) => address.has_labels(*number),
        };
        let of_key = |part: &Part| match part {
            Part::Letter(letter) => letter.is_ascii_lowercase() || fits(part),
            other => fits(other),
        };
        Ok(self.queries.iter().all(|query| query.0.iter().all(fits)) && self.result.0.iter().all(of_key))
    }

    /// Whether a table behind the list of domains has changed.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.domains.as_ref().is_some_and(MatchList::changed)
    }

    /// One of the queries, filled by a key that [`Self::takes`] took. `None` when it is empty or too large, as no query is.
    #[must_use]
    pub fn query(&self, number: usize, key: &[u8], quote: &Quote<'_>) -> Option<Vec<u8>> {
        let address = Address::of(key);
        let mut query = Vec::new();
        for part in &self.queries.get(number)?.0 {
            match part {
                Part::Text(text) => query.extend_from_slice(text),
                Part::Letter(letter) => quote(address.letter(*letter)?, &mut query),
                Part::Label(label) => quote(address.label(*label)?, &mut query),
            }
        }
        if query.is_empty() {
            log::warning!("table \"{}\": empty query string -- ignored", self.title);
        }
        (!query.is_empty() && query.len() <= LARGEST).then_some(query)
    }

    /// Collects the results for a key.
    #[must_use]
    pub fn results<'t>(&'t self, key: &'t [u8]) -> Results<'t> {
        Results { templates: self, key, joined: None, count: 0 }
    }
}

/// Values on their way to one result, joined by commas.
pub struct Results<'t> {
    templates: &'t Templates,
    key: &'t [u8],
    joined: Option<Vec<u8>>,
    count: usize,
}

impl Results<'_> {
    /// Adds a value in the form of `result_format`; one that is empty, or lacks a part that the format uses, is passed over.
    ///
    /// # Errors
    /// `expansion_limit` values are there already, or the result gets too large.
    pub fn add(&mut self, value: &[u8]) -> Result<(), Fault> {
        let templates = self.templates;
        if value.is_empty() {
            log::warning!(
                "table \"{}\": empty lookup result for: \"{}\" -- ignored",
                templates.title,
                log::show(self.key)
            );
            return Ok(());
        }
        let (key, address) = (Address::of(self.key), Address::of(value));
        let mut text = Vec::new();
        for part in &templates.result.0 {
            let filled = match part {
                Part::Text(text) => Some(text.as_slice()),
                Part::Letter(letter) if letter.is_ascii_uppercase() => key.letter(*letter),
                Part::Letter(letter) => address.letter(*letter),
                Part::Label(label) => key.label(*label),
            };
            let Some(filled) = filled else { return Ok(()) };
            text.extend_from_slice(filled);
        }
        self.count += 1;
        if templates.expansion_limit > 0 && self.count > templates.expansion_limit {
            return Err(Fault(format!(
                "{}: Expansion limit exceeded for key: '{}'",
                templates.title,
                log::show(self.key)
            )));
        }
        let joined = self.joined.get_or_insert_default();
        if !joined.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(&text);
        if joined.len() > LARGEST {
            return Err(Fault(format!("{}: result of more than {LARGEST} bytes", templates.title)));
        }
        Ok(())
    }

    /// All of them; `None` when there was none.
    #[must_use]
    pub fn finish(self) -> Option<BString> {
        self.joined.map(BString::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;

    fn templates(query: &str, settings: &str) -> Templates {
        let text: String = settings.lines().map(|line| format!("t_{line}\n")).collect();
        let config = Config::from_text(&text).expect("parses");
        let attributes = Attributes::load("pgsql", "t", &config).expect("loads");
        Templates::load(&attributes, &[query]).expect("fits")
    }

    fn double_quotes(text: &[u8], into: &mut Vec<u8>) {
        into.extend(text.iter().flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == b'\''))));
    }

    fn takes(templates: &Templates, key: &[u8]) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(templates.takes(key)).expect("answers")
    }

    #[test]
    fn queries() {
        for (query, key, expected) in [
            ("='%s'", "a@b.c", Some("='a@b.c'")),
            ("='%s'", "o'k", Some("='o''k'")),
            ("%u at %d %%", "a@b.c", Some("a at b.c %")),
            ("%u", "a", Some("a")),
            ("%d", "a", None),
            ("%u", "@b.c", None),
            ("%d", "a@", None),
            ("%1 %2 %3", "u@x.y.z", Some("z y x")),
            ("%4", "u@x.y.z", None),
            ("%2", "u@x..z", None),
            ("%1", "x.y.z", None),
            ("%S %U %D", "a@b.c", Some("a@b.c a b.c")),
            ("%s", "a@b@c", Some("a@b@c")),
            ("%u", "a@b@c", Some("a@b")),
            ("%s", "", None),
            ("%s", "a\0b", None),
            ("constant", "a", Some("constant")),
        ] {
            let templates = templates(query, "");
            let key = key.as_bytes();
            let filled = if takes(&templates, key) { templates.query(0, key, &double_quotes) } else { None };
            assert_eq!(filled, expected.map(|text| text.as_bytes().to_vec()), "{query} {key:?}");
        }
        let config = Config::from_text("").expect("parses");
        let attributes = Attributes::load("pgsql", "t", &config).expect("loads");
        for bad in ["%", "%x", "a%0", "%s %"] {
            assert!(Templates::load(&attributes, &[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn results() {
        for (format, key, values, expected) in [
            ("%s", "k", vec!["a", "b"], Ok(Some("a,b"))),
            ("smtp:[%s]", "k", vec!["a", ""], Ok(Some("smtp:[a]"))),
            ("%u", "k", vec!["a@b", "@c", "d"], Ok(Some("a,d"))),
            ("%d", "k", vec!["a@b", "c", "d@"], Ok(Some("b"))),
            ("%S=%s", "k", vec!["v"], Ok(Some("k=v"))),
            ("%U:%D:%1", "a@b.c", vec!["v"], Ok(Some("a:b.c:c"))),
            ("100%%", "k", vec!["v"], Ok(Some("100%"))),
            ("%s", "k", vec![], Ok(None)),
            ("%s", "k", vec!["1", "2", "3", "4"], Err(())),
        ] {
            let templates = templates("%s", &format!("result_format = {format}\nexpansion_limit = 3"));
            let mut results = templates.results(key.as_bytes());
            let outcome = values.iter().try_for_each(|value| results.add(value.as_bytes()));
            let joined = outcome.map(|()| results.finish()).map_err(|_| ());
            assert_eq!(joined, expected.map(|text| text.map(BString::from)), "{format} {key}");
        }
        assert!(!takes(&templates("%s", "result_format = %D"), b"bare"));
    }

    #[test]
    fn domains() {
        let templates = templates("%s", "domain = example.com, inline:{b.example=x}");
        for (key, taken) in [
            ("a@example.com", true),
            ("a@b.example", true),
            ("a@c.example", false),
            ("@example.com", false),
            ("example.com", false),
            ("a", false),
            ("a@sub.example.com", false),
        ] {
            assert_eq!(takes(&templates, key.as_bytes()), taken, "{key}");
        }
    }
}
