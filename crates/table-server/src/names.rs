//! Which tables of a type the configuration names, so that they are opened while there is still the right to.

use config::{Config, MasterCf};

/// Most tables that are opened ahead.
const MOST: usize = 1_000;

/// The names after `kind:` in the values of main.cf and the options of master.cf.
pub(crate) fn named(config: &Config, kind: &str) -> Vec<String> {
    let mut names = Vec::new();
    for parameter in config.names() {
        // A value that cannot be expanded is the error of whoever uses it.
        if config.written(parameter).is_some_and(|text| text.contains(':') || text.contains('$'))
            && let Ok(value) = config.string(parameter)
        {
            collect(&value, kind, &mut names);
        }
    }
    // Tools run without master.cf, too.
    if let Ok(master) = MasterCf::load(config.directory()) {
        for argument in master.services.iter().flat_map(|service| &service.arguments) {
            collect(argument, kind, &mut names);
        }
    }
    names.sort();
    names.dedup();
    names.truncate(MOST);
    names
}

/// Words that start with `kind:`, wherever they stand: in lists, in braces, behind `proxy:` and `debug:`.
fn collect(text: &str, kind: &str, names: &mut Vec<String>) {
    for word in text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}' | '=' | '!')) {
        let mut word = word;
        while let Some((head, rest)) = word.split_once(':') {
            if head == kind && !rest.is_empty() {
                names.push(rest.to_owned());
            }
            if !matches!(head, "proxy" | "debug") {
                break;
            }
            word = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_type() {
        let config = Config::from_text(
            "base = pgsql:/etc/postfix\nvirtual_alias_maps = proxy:pgsql:/a.cf, lmdb:/b\nrelay_domains = ${base}/c.cf\n\
             mynetworks = !pgsql:/d.cf 10.0.0.0/8\nx = unionmap:{pgsql:/e.cf, debug:pgsql:f} pgsql:/a.cf mysql:/g\n",
        )
        .expect("parses");
        let names = named(&config, "pgsql");
        assert_eq!(names, ["/a.cf", "/d.cf", "/e.cf", "/etc/postfix", "/etc/postfix/c.cf", "f"]);
    }
}
