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
