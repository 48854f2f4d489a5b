//! The one table of parameters: everything that knows a parameter's default, type or range knows it from here.
//!
//! `postconf`, the typed readers of [`crate::Config`], the manual page and the tests derive from it. [`Class::Ours`]
//! marks settings that Postfix does not have.

mod a_to_f;
mod deprecated;
mod g_to_o;
mod p_to_smt;
mod smtp;
mod smtpd_to_z;

pub use deprecated::deprecated;

use Class::Pattern;

/// What kind of row it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A setting of the reference.
    Builtin,
    /// A setting of the reference that exists once per service of `master.cf`, written out for a stock service.
    Service,
    /// The rule behind [`Class::Service`]: `transport_` in the name stands for `<service name>_`.
    Pattern,
    /// An old name. When it is set, the default of the new name uses it.
    Legacy,
    /// Documented once and gone: accepted and not used.
    Obsolete,
    /// Posthouse's own.
    Ours,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text; the range is that of its length.
    Str,
    /// Text that is expanded when it is used, with run-time attributes.
    Raw,
    /// `yes` or `no`.
    Bool,
    /// A decimal number of 32 bits.
    Int,
    /// A decimal number of 64 bits.
    Long,
    /// Digits and one of `s m h d w`; without one the unit of the default. The range is in seconds.
    Time,
    /// Feedback of the delivery scheduler: a number, `number / number`, or `number / concurrency`.
    Feedback,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Name as in `main.cf`.
    pub name: &'static str,
    /// What kind of row.
    pub class: Class,
    /// Type of the value.
    pub kind: Kind,
    /// True when the default is an expression, so that it has a type only after expansion.
    pub late: bool,
    /// The default, not expanded. Empty for what the machine gives (`myhostname`, `mydomain`, `mynetworks`).
    pub default: &'static str,
    /// Lowest value; 0 means not checked. For texts the shortest length.
    pub minimum: i64,
    /// Highest value; 0 means not checked.
    pub maximum: i64,
    /// Programs that read it, comma separated, or `all`.
    pub programs: &'static str,
    /// The release of the reference that brought it, as far as known; empty for ours.
    pub since: &'static str,
    /// Words that the value is made of, where there is a fixed set.
    pub keywords: &'static str,
    /// True when a program acts on it; others are accepted and ignored.
    pub implemented: bool,
    /// What it is for, one line.
    pub text: &'static str,
}

#[expect(clippy::too_many_arguments, reason = "a row of a table, written in columns")]
const fn used(
    name: &'static str,
    class: Class,
    kind: Kind,
    default: &'static str,
    minimum: i64,
    maximum: i64,
    programs: &'static str,
    since: &'static str,
    keywords: &'static str,
    text: &'static str,
) -> Parameter {
    Parameter {
        name,
        class,
        kind,
        late: false,
        default,
        minimum,
        maximum,
        programs,
        since,
        keywords,
        implemented: true,
        text,
    }
}

#[expect(clippy::too_many_arguments, reason = "a row of a table, written in columns")]
const fn later(
    name: &'static str,
    class: Class,
    kind: Kind,
    default: &'static str,
    minimum: i64,
    maximum: i64,
    programs: &'static str,
    since: &'static str,
    keywords: &'static str,
    text: &'static str,
) -> Parameter {
    let row = used(name, class, kind, default, minimum, maximum, programs, since, keywords, text);
    Parameter { implemented: false, ..row }
}

const fn late(row: Parameter) -> Parameter {
    Parameter { late: true, ..row }
}

static PARTS: [&[Parameter]; 5] = [a_to_f::ROWS, g_to_o::ROWS, p_to_smt::ROWS, smtp::ROWS, smtpd_to_z::ROWS];

/// All rows, sorted by name.
pub fn all() -> impl Iterator<Item = &'static Parameter> {
    PARTS.iter().flat_map(|part| part.iter())
}

/// The row of `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Parameter> {
    let part = PARTS.iter().find(|part| part.last().is_some_and(|last| last.name >= name))?;
    part.binary_search_by(|row| row.name.cmp(name)).ok().map(|at| &part[at])
}

/// The rule for `<service>_<suffix>`, by its suffix such as `destination_concurrency_limit`.
#[must_use]
pub fn pattern(suffix: &str) -> Option<&'static Parameter> {
    patterns().find(|(known, _)| *known == suffix).map(|(_, row)| row)
}

/// All rules for `<service>_<suffix>`, with their suffixes.
pub fn patterns() -> impl Iterator<Item = (&'static str, &'static Parameter)> {
    all().filter(|row| row.class == Pattern).filter_map(|row| Some((row.name.strip_prefix("transport_")?, row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_found() {
        let names: Vec<_> = all().map(|row| row.name).collect();
        assert!(names.is_sorted());
        for row in all() {
            assert!(std::ptr::eq(find(row.name).unwrap(), row), "{}", row.name);
        }
        for missing in ["", "zzz", "myhostnam", "myhostnames", "~"] {
            assert!(find(missing).is_none(), "{missing}");
        }
        assert_eq!(pattern("destination_concurrency_limit").unwrap().default, "$default_destination_concurrency_limit");
        assert!(pattern("nothing").is_none());
    }
}
