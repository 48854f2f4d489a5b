//! Tables whose settings are parameters in `main.cf` (`ldap:name` with `name_server_host = ...`) or a file of their own
//! (`ldap:/file`).

use config::{list, main_cf};

const SQL: &[&str] = &[
    "hosts",
    "user",
    "password",
    "dbname",
    "encoding",
    "query",
    "domain",
    "result_format",
    "expansion_limit",
    "query_filter",
    "select_field",
    "table",
    "where_field",
    "additional_conditions",
    "select_function",
    "idle_interval",
    "retry_interval",
];
const MYSQL: &[&str] = &[
    "option_file",
    "option_group",
    "require_result_set",
    "charset",
    "tls_key_file",
    "tls_cert_file",
    "tls_CAfile",
    "tls_CApath",
    "tls_ciphers",
    "tls_verify_cert",
    "stored_procedure",
    "connect_timeout",
    "read_timeout",
    "port",
];
const LDAP: &[&str] = &[
    "server_host",
    "server_port",
    "search_base",
    "timeout",
    "query_filter",
    "result_format",
    "result_filter",
    "domain",
    "result_attribute",
    "special_result_attribute",
    "terminal_result_attribute",
    "leaf_result_attribute",
    "scope",
    "bind",
    "bind_dn",
    "bind_pw",
    "cache",
    "cache_expiry",
    "cache_size",
    "recursion_limit",
    "expansion_limit",
    "size_limit",
    "dereference",
    "chase_referrals",
    "version",
    "debuglevel",
    "sasl_mechs",
    "sasl_realm",
    "sasl_authz_id",
    "sasl_minssf",
    "start_tls",
    "tls_ca_cert_dir",
    "tls_ca_cert_file",
    "tls_cert",
    "tls_key",
    "tls_require_cert",
    "tls_random_file",
    "tls_cipher_suite",
];
const MEMCACHE: &[&str] = &[
    "memcache",
    "backup",
    "flags",
    "ttl",
    "key_format",
    "domain",
    "data_size_limit",
    "line_size_limit",
    "max_try",
    "retry_pause",
    "timeout",
];
const MONGODB: &[&str] = &[
    "uri",
    "dbname",
    "collection",
    "query_filter",
    "projection",
    "options",
    "result_attribute",
    "result_format",
    "expansion_limit",
    "domain",
    "dbproject",
];
const SQLITE: &[&str] = &[
    "dbpath",
    "query",
    "domain",
    "result_format",
    "expansion_limit",
    "query_filter",
    "select_field",
    "table",
    "where_field",
    "additional_conditions",
];

fn settings(kind: &str) -> Option<[&'static [&'static str]; 2]> {
    Some(match kind {
        "ldap" => [LDAP, &[]],
        "mysql" => [SQL, MYSQL],
        "pgsql" => [SQL, &[]],
        "sqlite" => [SQLITE, &[]],
        "memcache" => [MEMCACHE, &[]],
        "mongodb" => [MONGODB, &[]],
        _ => return None,
    })
}

/// `type:name` elements of a value that have settings.
fn tables(value: &str) -> impl Iterator<Item = (String, String)> {
    list::split(value).into_iter().filter_map(|element| {
        let element = element.strip_prefix('!').unwrap_or(&element);
        let element = element.strip_prefix("proxy:").unwrap_or(element);
        let (kind, name) = element.split_once(':')?;
        settings(kind)?;
        Some((kind.to_owned(), name.to_owned()))
    })
}

fn is_path(name: &str) -> bool {
    name.starts_with('/') || name.starts_with('.')
}

/// Those of `candidates` that are settings of a table that `value` names.
pub(crate) fn names<'a>(value: &str, candidates: &(impl Iterator<Item = &'a str> + Clone)) -> Vec<String> {
    tables(value)
        .filter(|(_, name)| !is_path(name))
        .flat_map(|(kind, name)| {
            candidates
                .clone()
                .filter(move |candidate| {
                    let suffix = candidate.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('_'));
                    let known = settings(&kind).unwrap_or_default();
                    suffix.is_some_and(|suffix| known.iter().any(|part| part.contains(&suffix)))
                })
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Looks into the files of tables that `value` names, and warns about settings that the table does not have.
pub(crate) fn check_files(value: &str, warnings: &mut Vec<String>) {
    for (kind, path) in tables(value).filter(|(_, name)| is_path(name)) {
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) => {
                let reason = error.kind();
                warnings.push(match reason {
                    std::io::ErrorKind::NotFound => {
                        format!("open \"{kind}\" configuration \"{path}\": No such file or directory")
                    }
                    _ => format!("open \"{kind}\" configuration \"{path}\": {error}"),
                });
                continue;
            }
        };
        let known = settings(&kind).unwrap_or_default();
        for logical in config::logical_line::LogicalLines::new(&text) {
            let line = String::from_utf8_lossy(&logical.text);
            match main_cf::split_name_value(&line) {
                Ok((name, _)) if known.iter().any(|part| part.contains(&name)) => {}
                Ok((name, setting)) => {
                    let text = format!("{path}: unused parameter: {name}={setting}");
                    if !warnings.contains(&text) {
                        warnings.push(text);
                    }
                }
                Err(problem) => warnings.push(format!("{path}, line {}: {problem}: \"{}\"", logical.line, line.trim())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_named_tables() {
        let candidates = ["ldapx_server_host", "ldapx_bogus", "x_query", "bb_x", "my_tls_key_file"];
        let found = names("proxy:ldap:ldapx, pcre:bb !mysql:my pgsql:/x", &candidates.into_iter());
        assert_eq!(found, ["ldapx_server_host", "my_tls_key_file"]);
    }

    #[test]
    fn files_are_checked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hosts = a\nbogus = b\n").unwrap();
        let mut warnings = Vec::new();
        let path = file.path().display().to_string();
        check_files(&format!("mysql:{path} ldap:/nonexistent/x"), &mut warnings);
        assert_eq!(
            warnings,
            [
                format!("{path}: unused parameter: bogus=b"),
                "open \"ldap\" configuration \"/nonexistent/x\": No such file or directory".to_owned()
            ]
        );
    }
}
