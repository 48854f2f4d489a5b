//! All keys, by the parameters that name them, and what happens when their files are renewed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipc::tlsmgr::{Chain, KeyId, KeySet, Role};
use rustls::sign::SigningKey;
use tls::certificate::{Certificate, KeyKind};

use crate::keeper::{Files, Paths};
use crate::pairs::{self, Pair, Section};

/// Files that together hold keys and their chains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    /// `*_tls_chain_files`
    ChainFiles(Vec<String>),
    /// `*_tls_cert_file` and `*_tls_key_file`
    Pair(String, String),
    /// `tls_server_chain_directory`
    Directory(String),
}

/// What a unit holds.
#[derive(Debug, Default)]
struct Loaded {
    pairs: Vec<Pair>,
    /// What is wrong with it, as it was last said.
    problems: Vec<String>,
}

/// A key and whose handshakes it may sign.
#[derive(Clone, Debug)]
pub struct Key {
    /// The key.
    pub key: Arc<dyn SigningKey>,
    /// What kind it is.
    pub kind: KeyKind,
    roles: Vec<Role>,
}

impl Key {
    /// Whether it may sign such handshakes.
    #[must_use]
    pub fn is_for(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// All keys.
#[derive(Debug, Default)]
pub struct Store {
    sets: Vec<KeySet>,
    units: BTreeMap<Unit, Loaded>,
    keys: HashMap<KeyId, Key>,
    /// Keys until the renewal before this one: handshakes that began with them can still end.
    earlier: HashMap<KeyId, Key>,
    version: u64,
}

fn units(set: &KeySet) -> Vec<Unit> {
    let mut units = Vec::new();
    if !set.chain_files.is_empty() {
        units.push(Unit::ChainFiles(set.chain_files.clone()));
    }
    units.extend(set.pairs.iter().map(|(certificate, key)| Unit::Pair(certificate.clone(), key.clone())));
    if !set.directory.is_empty() {
        units.push(Unit::Directory(set.directory.clone()));
    }
    units
}

/// The paths of these sets.
#[must_use]
pub fn paths(sets: &[KeySet]) -> Paths {
    let mut paths = Paths::default();
    for unit in sets.iter().flat_map(units) {
        match unit {
            Unit::ChainFiles(files) => paths.files.extend(files.iter().map(PathBuf::from)),
            Unit::Pair(certificate, key) => paths.files.extend([certificate.into(), key.into()]),
            Unit::Directory(directory) => drop(paths.directories.insert(directory.into())),
        }
    }
    paths
}

impl Store {
    /// The keys of these sets in these files. What is wrong with them is in the second part, for warnings.
    #[must_use]
    pub fn new(sets: Vec<KeySet>, files: &Files) -> (Store, Vec<String>) {
        let mut store = Store { sets, ..Store::default() };
        let warnings = store.renew(files);
        (store, warnings)
    }

    /// Takes up renewed files. What does not fit together is warned about, once, and what was there before stays.
    #[must_use]
    pub fn renew(&mut self, files: &Files) -> Vec<String> {
        self.version += 1;
        let mut warnings = Vec::new();
        let mut keys: HashMap<KeyId, Key> = HashMap::new();
        for set in &self.sets {
            for unit in units(set) {
                let before = self.units.remove(&unit).unwrap_or_default();
                let now = load(&unit, files, &before, &mut warnings);
                for pair in &now.pairs {
                    let entry = keys.entry(pair.id).or_insert_with(|| Key {
                        key: Arc::clone(&pair.key),
                        kind: pair.kind,
                        roles: Vec::new(),
                    });
                    if !entry.roles.contains(&set.role) {
                        entry.roles.push(set.role);
                    }
                }
                self.units.insert(unit, now);
            }
        }
        let same = keys.len() == self.keys.len() && keys.keys().all(|id| self.keys.contains_key(id));
        let before = std::mem::replace(&mut self.keys, keys);
        if !same {
            self.earlier = before;
        }
        warnings
    }

    /// Counts renewals.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the configuration has this set.
    #[must_use]
    pub fn knows(&self, set: &KeySet) -> bool {
        self.sets.contains(set)
    }

    /// The chains that a set shows to whoever does not ask for a name, best key first.
    ///
    /// # Errors
    /// Why there are none.
    pub fn chains(&self, set: &KeySet) -> Result<Vec<Chain>, String> {
        let mut chains = Vec::new();
        let mut problem = None;
        for unit in units(set) {
            let Some(loaded) = self.units.get(&unit) else { continue };
            problem = problem.or_else(|| loaded.problems.first().cloned());
            // The names of a directory are for those who ask for them; without anything else its first will do.
            let default_only = matches!(unit, Unit::Directory(_));
            if !default_only {
                chains.extend(loaded.pairs.iter().map(Pair::chain));
            } else if chains.is_empty() {
                chains.extend(loaded.pairs.first().map(Pair::chain));
            }
        }
        if chains.is_empty() && !set.has_names() {
            return Err(problem.unwrap_or_else(|| "no certificate".to_owned()));
        }
        Ok(chains)
    }

    /// The chains for a host name among those of the set's directory: by the name itself, else by a wildcard.
    #[must_use]
    pub fn named(&self, set: &KeySet, name: &str) -> Vec<Chain> {
        if set.directory.is_empty() {
            return Vec::new();
        }
        let Some(loaded) = self.units.get(&Unit::Directory(set.directory.clone())) else { return Vec::new() };
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        for wanted in [Some(name), wildcard.as_deref()].into_iter().flatten() {
            let fitting = loaded.pairs.iter().filter(|pair| pair.names.iter().any(|have| have == wanted));
            let chains: Vec<Chain> = fitting.map(Pair::chain).collect();
            if !chains.is_empty() {
                return chains;
            }
        }
        Vec::new()
    }

    /// A key by its name.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<&Key> {
        self.keys.get(id).or_else(|| self.earlier.get(id))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn load(unit: &Unit, files: &Files, before: &Loaded, warnings: &mut Vec<String>) -> Loaded {
    let mut now = match unit {
        Unit::ChainFiles(names) => whole(chain_files(names, files), before),
        Unit::Pair(certificate, key) => whole(pair_of_files(certificate, key, files), before),
        Unit::Directory(directory) => directory_pairs(Path::new(directory), files, before),
    };
    let kept = if before.pairs.is_empty() { "" } else { ": the certificate and key from before stay in use" };
    for problem in &now.problems {
        if !before.problems.contains(problem) {
            warnings.push(format!("{problem}{kept}"));
        }
    }
    now.problems.truncate(1000);
    now
}

/// All or nothing: with a problem, what was there before.
fn whole(outcome: Result<Vec<Pair>, String>, before: &Loaded) -> Loaded {
    match outcome {
        Ok(pairs) => Loaded { pairs, problems: Vec::new() },
        Err(problem) => Loaded { pairs: before.pairs.clone(), problems: vec![problem] },
    }
}

fn content<'a>(name: &str, files: &'a Files) -> Result<&'a [u8], String> {
    match files.get(Path::new(name)) {
        Some(Ok(content)) => Ok(content),
        Some(Err(reason)) => Err(reason.clone()),
        None => Err("not read".to_owned()),
    }
}

fn chain_files(names: &[String], files: &Files) -> Result<Vec<Pair>, String> {
    let mut text = Vec::new();
    for name in names {
        let content =
            content(name, files).map_err(|reason| format!("error loading chain from file \"{name}\": {reason}"))?;
        text.extend_from_slice(content);
        text.push(b'\n');
    }
    let names = names.join(", ");
    pairs::keys_with_chains(&text).map_err(|problem| format!("error loading chains from \"{names}\": {problem}"))
}

fn pair_of_files(certificate: &str, key: &str, files: &Files) -> Result<Vec<Pair>, String> {
    let chain = content(certificate, files)
        .map_err(|reason| format!("cannot get certificate from file \"{certificate}\": {reason}"))?;
    let secret =
        content(key, files).map_err(|reason| format!("cannot get private key from file \"{key}\": {reason}"))?;
    pairs::certificate_and_key(chain, secret).map(|pair| vec![pair]).map_err(|problem| match problem.as_str() {
        "key values mismatch" => {
            format!("private key from file \"{key}\" does not match the certificate in \"{certificate}\"")
        }
        _ => format!("cannot use certificate \"{certificate}\" and private key \"{key}\": {problem}"),
    })
}

/// The chains of a directory. Which key belongs to which chain is seen from the keys; files side by side belong together,
/// and those of a directory in it do.
fn directory_pairs(directory: &Path, files: &Files, before: &Loaded) -> Loaded {
    let mut loaded = Loaded::default();
    let mut groups: BTreeMap<&Path, Vec<(&Path, Vec<Section>)>> = BTreeMap::new();
    for (path, content) in files.range(directory.to_owned()..).take_while(|(path, _)| path.starts_with(directory)) {
        let Some(parent) = path.parent() else { continue };
        let parsed = content.as_ref().map_err(Clone::clone).and_then(|content| pairs::sections(content));
        match parsed {
            Ok(sections) => groups.entry(parent).or_default().push((path, sections)),
            Err(reason) => loaded.problems.push(format!("{}: {reason}", path.display())),
        }
    }
    for group in groups.into_values() {
        join_group(group, &mut loaded, before);
    }
    // Where several chains are for one name, the longest leads for sure to somebody's authority.
    loaded.pairs.sort_by_key(|pair| std::cmp::Reverse(pair.certificates.len()));
    let mut seen = HashSet::new();
    loaded.pairs.retain(|pair| seen.insert(pair.id));
    loaded.pairs.sort_by(|a, b| a.names.cmp(&b.names));
    loaded
}

fn join_group(group: Vec<(&Path, Vec<Section>)>, loaded: &mut Loaded, before: &Loaded) {
    let mut keys = Vec::new();
    let mut chains = Vec::new();
    for (path, sections) in group {
        let mut chain = Vec::new();
        for section in sections {
            match section {
                Section::Key(key) => keys.push(key),
                Section::Certificate(der) => chain.push(der),
            }
        }
        if !chain.is_empty() {
            chains.push((path, chain));
        }
    }
    for (path, chain) in chains {
        let Some(certificate) = chain.first().and_then(|first| Certificate::parse(first)) else {
            loaded.problems.push(format!("{}: malformed certificate", path.display()));
            continue;
        };
        let names = certificate.dns_names();
        match keys.iter().find(|key| pairs::fits(key, &certificate)) {
            Some(key) => match pairs::pair(Arc::clone(key), chain) {
                Ok(pair) => loaded.pairs.push(pair),
                Err(problem) => loaded.problems.push(format!("{}: {problem}", path.display())),
            },
            // Issuers lie beside the certificates that they made.
            None if certificate.is_authority() => {}
            None => {
                loaded.problems.push(format!("no private key for the certificate in \"{}\"", path.display()));
                loaded.pairs.extend(before.pairs.iter().filter(|pair| pair.names == names).cloned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::OnceLock;

    /// Keys and certificates for tests: `one`, `two` (both for one.example), `wild` (*.wild.example).
    fn pem(name: &str, ending: &str) -> Vec<u8> {
        static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
        let directory = MADE.get_or_init(|| {
            let directory = tempfile::tempdir().expect("directory");
            for (name, host) in [("one", "one.example"), ("two", "one.example"), ("wild", "*.wild.example")] {
                let at = |ending: &str| directory.path().join(format!("{name}.{ending}"));
                let made = Command::new("openssl")
                    .args(["req", "-x509", "-nodes", "-days", "30", "-newkey", "ec", "-pkeyopt"])
                    .args(["ec_paramgen_curve:prime256v1", "-subj", "/CN=x", "-addext", "basicConstraints=CA:FALSE"])
                    .args(["-addext", &format!("subjectAltName=DNS:{host}")])
                    .arg("-keyout")
                    .arg(at("key"))
                    .arg("-out")
                    .arg(at("pem"))
                    .output()
                    .expect("openssl");
                assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            }
            directory
        });
        std::fs::read(directory.path().join(format!("{name}.{ending}"))).expect("read")
    }

    fn files(entries: &[(&str, Vec<u8>)]) -> Files {
        entries.iter().map(|(path, content)| (PathBuf::from(path), Ok(content.clone()))).collect()
    }

    fn pair_set() -> KeySet {
        KeySet { pairs: vec![("/c".into(), "/k".into())], ..KeySet::default() }
    }

    #[test]
    fn a_key_that_does_not_fit_leaves_everything_as_it_was() {
        let good = |name: &str| files(&[("/c", pem(name, "pem")), ("/k", pem(name, "key"))]);
        let (mut store, warnings) = Store::new(vec![pair_set()], &good("one"));
        assert!(warnings.is_empty() && store.len() == 1);
        let before = store.chains(&pair_set()).expect("chains");
        let wrong = files(&[("/c", pem("two", "pem")), ("/k", pem("one", "key"))]);
        let warning = "private key from file \"/k\" does not match the certificate in \"/c\": the certificate and key from \
                       before stay in use";
        assert_eq!(store.renew(&wrong), [warning]);
        // Once is enough.
        assert!(store.renew(&wrong).is_empty());
        assert_eq!(store.chains(&pair_set()), Ok(before.clone()));
        // A file that has gone is the same.
        let missing: Files = [(PathBuf::from("/c"), Err("No such file or directory".to_owned()))].into();
        assert_eq!(store.renew(&missing).len(), 1);
        assert_eq!(store.chains(&pair_set()), Ok(before.clone()));
        assert!(store.renew(&good("two")).is_empty());
        let after = store.chains(&pair_set()).expect("chains");
        assert_ne!(after, before);
        // Handshakes under way can still be signed, by roles that may.
        let earlier = store.key(&before[0].key).expect("the earlier key");
        assert!(earlier.is_for(Role::Server) && !earlier.is_for(Role::Client));
        assert!(store.renew(&good("two")).is_empty());
        assert!(store.key(&before[0].key).is_some());
    }

    #[test]
    fn what_never_fitted_is_an_error() {
        for (certificate, key, wanted) in [
            (
                pem("two", "pem"),
                pem("one", "key"),
                "private key from file \"/k\" does not match the certificate in \"/c\"",
            ),
            (pem("one", "pem"), Vec::new(), "cannot use certificate \"/c\" and private key \"/k\": no private key"),
            (Vec::new(), pem("one", "key"), "cannot use certificate \"/c\" and private key \"/k\": no certificate"),
        ] {
            let (store, warnings) = Store::new(vec![pair_set()], &files(&[("/c", certificate), ("/k", key)]));
            assert_eq!(warnings, [wanted]);
            assert_eq!(store.chains(&pair_set()), Err(wanted.to_owned()));
        }
    }

    #[test]
    fn chain_files_have_each_key_before_its_chain() {
        let set = KeySet { chain_files: vec!["/a".into(), "/b".into()], ..KeySet::default() };
        let a = [pem("one", "key"), pem("one", "pem"), pem("two", "key")].concat();
        let (store, warnings) = Store::new(vec![set.clone()], &files(&[("/a", a), ("/b", pem("two", "pem"))]));
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(store.chains(&set).map(|chains| chains.len()), Ok(2));
        for (text, wanted) in [
            ([pem("one", "pem"), pem("one", "key")].concat(), "a certificate that no key precedes"),
            ([pem("one", "key"), pem("two", "pem")].concat(), "key at index 1 does not match next certificate"),
            ([pem("one", "key"), pem("one", "pem"), pem("two", "key")].concat(), "key at index 2 has no certificate"),
            (b"nothing".to_vec(), "no key and certificate"),
        ] {
            assert_eq!(pairs::keys_with_chains(&text).expect_err("an error"), wanted);
        }
    }

    #[test]
    fn a_directory_is_searched_by_name() {
        let set = KeySet { directory: "/d".into(), ..KeySet::default() };
        let all = || {
            files(&[
                ("/d/one.pem", [pem("one", "pem"), pem("one", "key")].concat()),
                ("/d/wild/privkey.pem", pem("wild", "key")),
                ("/d/wild/fullchain.pem", [pem("wild", "pem"), pem("one", "pem")].concat()),
                ("/d/wild/cert.pem", pem("wild", "pem")),
                ("/elsewhere/two.pem", [pem("two", "pem"), pem("two", "key")].concat()),
            ])
        };
        let (mut store, warnings) = Store::new(vec![set.clone()], &all());
        assert!(warnings.is_empty(), "{warnings:?}");
        let lengths = |store: &Store, name: &str| -> Vec<usize> {
            store.named(&set, name).iter().map(|chain| chain.certificates.len()).collect()
        };
        assert_eq!(lengths(&store, "one.example"), [1]);
        // The longer of two chains for one certificate.
        assert_eq!(lengths(&store, "a.wild.example"), [2]);
        assert!(lengths(&store, "a.b.wild.example").is_empty() && lengths(&store, "wild.example").is_empty());
        // Without anything else there is a default.
        assert_eq!(store.chains(&set).map(|chains| chains.len()), Ok(1));
        // A renewed certificate whose key is not there yet: the old one stays.
        let mut renewed = all();
        renewed.insert("/d/one.pem".into(), Ok(pem("two", "pem")));
        let before = store.named(&set, "one.example");
        assert_eq!(store.renew(&renewed).len(), 1);
        assert_eq!(store.named(&set, "one.example"), before);
        renewed.insert("/d/one.key".into(), Ok(pem("two", "key")));
        assert!(store.renew(&renewed).is_empty());
        assert_ne!(store.named(&set, "one.example"), before);
        // What is taken away is gone.
        renewed.retain(|path, _| !path.starts_with("/d/wild"));
        assert!(store.renew(&renewed).is_empty());
        assert!(lengths(&store, "a.wild.example").is_empty());
    }
}
