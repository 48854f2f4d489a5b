//! How fast lookups are; run by hand: `cargo test --release -p posthouse-tables --test speed -- --ignored --nocapture`.

use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use posthouse_tables::build::{CompileOptions, Syntax, Target, compile};
use posthouse_tables::{Flags, Maps, Settings, open};

fn measure(table: &str, keys: &[String]) {
    let opened = open::open(table, &Settings::default(), Flags::DEFAULT).expect("opens");
    let rounds = 200_000 / keys.len();
    let start = Instant::now();
    for _ in 0..rounds {
        for key in keys {
            let _ = black_box(opened.lookup(key.as_bytes()));
        }
    }
    let each = start.elapsed() / u32::try_from(rounds * keys.len()).expect("fits");
    let rate = 1e9 / each.as_nanos().max(1) as f64;
    let kind = table.split(':').next().unwrap_or_default();
    writeln!(std::io::stderr(), "{kind}: {each:?} per lookup, {rate:.0}/s").expect("stderr");
}

/// The same lookup as blocking programs and as daemons make it: the second must cost nothing more for local tables.
#[test]
#[ignore = "a measurement"]
fn waiting_for_nothing() {
    let maps = Maps::open_with("inline:{a=1, b=2}", &Settings::default(), "test", Flags::DEFAULT).expect("opens");
    const ROUNDS: u32 = 2_000_000;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    for _ in 0..3 {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let _ = black_box(maps.lookup_blocking(black_box(b"b")));
        }
        let blocking = start.elapsed() / ROUNDS;
        let start = Instant::now();
        runtime.block_on(async {
            for _ in 0..ROUNDS {
                let _ = black_box(maps.lookup(black_box(b"b")).await);
            }
        });
        let waiting = start.elapsed() / ROUNDS;
        writeln!(std::io::stderr(), "inline: {blocking:?} blocking, {waiting:?} on the event loop").expect("stderr");
    }
}

#[test]
#[ignore = "a measurement"]
fn lookups() {
    let directory = tempfile::tempdir().expect("directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let networks: String = (0..10_000).map(|n| format!("10.{}.{}.0/{} x\n", n / 250, n % 250, 24 + n % 3)).collect();
    fs::write(path("cidr"), networks).expect("write");
    let addresses: Vec<String> = (0..1000).map(|n| format!("192.168.{}.{}", n / 250, n % 250)).collect();
    measure(&format!("cidr:{}", path("cidr")), &addresses);

    let rules: String = (0..1000).map(|n| format!("/^Subject:.*word{n}[a-z]*thing/ REJECT\n")).collect();
    fs::write(path("rules"), rules).expect("write");
    let headers: Vec<String> =
        (0..100).map(|n| format!("Subject: Re: [list-{n}] an ordinary subject of some length, no spam")).collect();
    measure(&format!("pcre:{}", path("rules")), &headers);
    measure(&format!("regexp:{}", path("rules")), &headers);

    let users: String = (0..100_000).map(|n| format!("user{n}@example.com dest{n}\n")).collect();
    fs::write(path("users"), users).expect("write");
    let settings = Settings::default();
    for kind in ["lmdb", "cdb"] {
        let target = Target::parse(&format!("{kind}:{}", path("users")), kind).expect("target");
        compile(&target, &settings, &CompileOptions::new(Syntax::Map, &settings)).expect("builds");
    }
    let misses: Vec<String> = (0..1000).map(|n| format!("nobody{n}@example.com")).collect();
    let hits: Vec<String> = (0..1000).map(|n| format!("user{}@example.com", n * 97)).collect();
    for kind in ["lmdb", "cdb", "texthash"] {
        measure(&format!("{kind}:{}", path("users")), &misses);
        measure(&format!("{kind}:{}", path("users")), &hits);
    }
}
