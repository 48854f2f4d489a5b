//! TLS as a whole: clients of all kinds, keys that only tlsmgr has, certificates that are renewed under way.

use std::fs;
use std::process::{Command, Stdio};

use posthouse_tests::instance::RunAs;
use posthouse_tests::tls::{KeyType, Pki, TlsClient, s_client, secret_bytes};
use posthouse_tests::{Instance, Suite, ports};

/// An instance with certificates of both kinds, not started. Mail is kept.
fn with_certificates(suite: &Suite, run_as: RunAs, pki: &Pki, more: &str) -> Instance {
    pki.certified("rsa", KeyType::Rsa, "/CN=mail.example.com", &["mail.example.com"]);
    pki.certified("ec", KeyType::Ec, "/CN=mail.example.com", &["mail.example.com"]);
    let instance = Instance::new(suite, run_as);
    let (rsa, rsa_key) = pki.install(&instance, "rsa", "rsa");
    let (ec, ec_key) = pki.install(&instance, "ec", "ec");
    let ca = instance.write("ca.pem", fs::read(pki.path("ca.pem")).expect("read"));
    instance.add_main_cf(&format!(
        "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_eccert_file = {}\n\
         smtpd_tls_eckey_file = {}\nsmtpd_tls_CAfile = {}\nsmtpd_tls_loglevel = 1\nsmtpd_tls_received_header = yes\n\
         smtpd_recipient_restrictions = check_recipient_access static:HOLD\n{more}",
        rsa.display(),
        rsa_key.display(),
        ec.display(),
        ec_key.display(),
        ca.display(),
    ));
    instance
}

fn started(pki: &Pki, more: &str) -> Instance {
    let mut instance = with_certificates(&Suite::ours(), RunAs::User, pki, more);
    instance.start();
    instance
}

/// What the log says of the last handshake, after the client's name.
fn established(line: &str) -> &str {
    line.split_once("]: ").map_or(line, |(_, rest)| rest)
}

#[test]
fn every_protocol_and_cipher_that_there_is() {
    let pki = Pki::new();
    let instance = started(&pki, "");
    let mut log = instance.log();
    let mut count = 0;
    for (arguments, wanted) in [
        (
            vec!["-tls1_3"],
            Some(
                "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature ECDSA (prime256v1) server-digest SHA256",
            ),
        ),
        (
            vec!["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
            Some(
                "TLSv1.3 with cipher TLS_AES_128_GCM_SHA256 (128/128 bits) key-exchange X25519 server-signature ECDSA (prime256v1) server-digest SHA256",
            ),
        ),
        (
            vec!["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256", "-groups", "P-256"],
            Some(
                "TLSv1.3 with cipher TLS_CHACHA20_POLY1305_SHA256 (256/256 bits) key-exchange ECDHE (prime256v1) server-signature ECDSA (prime256v1) server-digest SHA256",
            ),
        ),
        (
            vec!["-tls1_3", "-groups", "P-384", "-sigalgs", "RSA-PSS+SHA384"],
            Some(
                "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange ECDHE (secp384r1) server-signature RSA-PSS (2048 bits) server-digest SHA384",
            ),
        ),
        // The server has to ask for another group first.
        (
            vec!["-tls1_3", "-groups", "P-521:X25519"],
            Some(
                "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature ECDSA (prime256v1) server-digest SHA256",
            ),
        ),
        (vec!["-tls1_2"], Some("TLSv1.2 with cipher ECDHE-ECDSA-AES256-GCM-SHA384 (256/256 bits)")),
        (
            vec!["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            Some("TLSv1.2 with cipher ECDHE-ECDSA-AES128-GCM-SHA256 (128/128 bits)"),
        ),
        (
            vec!["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
            Some("TLSv1.2 with cipher ECDHE-ECDSA-CHACHA20-POLY1305 (256/256 bits)"),
        ),
        (
            vec!["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"],
            Some("TLSv1.2 with cipher ECDHE-RSA-AES256-GCM-SHA384 (256/256 bits)"),
        ),
        (
            vec!["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            Some("TLSv1.2 with cipher ECDHE-RSA-AES128-GCM-SHA256 (128/128 bits)"),
        ),
        (
            vec!["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"],
            Some("TLSv1.2 with cipher ECDHE-RSA-CHACHA20-POLY1305 (256/256 bits)"),
        ),
        (vec!["-tls1_2", "-cipher", "AES128-SHA"], None),
        (vec!["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], None),
        (vec!["-tls1_3", "-groups", "P-521"], None),
    ] {
        let said = s_client(instance.port(), &arguments);
        count += 1;
        log.wait_for_count("disconnect from", count);
        let last = |part: &str, log: &mut posthouse_tests::Log| log.lines_with(part).pop().unwrap_or_default();
        match wanted {
            Some(wanted) => {
                assert_eq!(established(&last("TLS connection established", &mut log)), wanted, "{arguments:?}\n{said}");
            }
            None => {
                assert!(said.contains("alert"), "{arguments:?}\n{said}");
                assert!(!last("SSL_accept error from", &mut log).is_empty(), "{arguments:?}");
            }
        }
    }
    assert_eq!(log.lines_with("SSL_accept error from").len(), 3);
    assert_eq!(log.lines_with("panic:").len(), 0);
}

#[test]
fn sessions_are_resumed_by_tickets_of_another_worker() {
    let pki = Pki::new();
    let other = ports::free();
    let mut instance = with_certificates(&Suite::ours(), RunAs::User, &pki, "smtpd_tls_ask_ccert = yes\n");
    instance.add_master_cf(&format!("127.0.0.1:{other} inet n - n - - smtpd"));
    instance.start();
    pki.certified("client", KeyType::Ec, "/CN=client", &[]);
    let (certificate, key) =
        (pki.path("client.pem").display().to_string(), pki.path("client.key").display().to_string());
    let session = pki.path("session").display().to_string();
    for version in ["-tls1_3", "-tls1_2"] {
        let common = [version, "-cert", &certificate, "-key", &key];
        let said = s_client(instance.port(), &[&common[..], &["-sess_out", &session]].concat());
        assert!(said.contains("New, TLSv1"), "{said}");
        let said = s_client(other, &[&common[..], &["-sess_in", &session]].concat());
        assert!(said.contains("Reused, TLSv1"), "{said}");
    }
    let mut log = instance.log();
    // Who the client is goes along with the session, and its certificate is judged again.
    log.wait_for_count("Trusted TLS connection established", 4);
    let programs: std::collections::HashSet<String> = log
        .lines_with("Trusted TLS connection established")
        .iter()
        .filter_map(|line| line.split("smtpd[").nth(1)?.split(']').next().map(str::to_owned))
        .collect();
    assert_eq!(programs.len(), 2, "{programs:?}");
}

#[test]
fn clients_are_known_by_their_certificates() {
    let pki = Pki::new();
    for name in ["listed", "bykey", "trusted"] {
        pki.certified(name, KeyType::Rsa, &format!("/CN={name}"), &[]);
    }
    pki.self_signed("self", KeyType::Ec, "/CN=self signed");
    let mut instance = with_certificates(&Suite::ours(), RunAs::User, &pki, "smtpd_tls_ask_ccert = yes\n");
    let [certificates, trusted, table] = [ports::free(), ports::free(), ports::free()];
    let list = instance
        .write("clients", format!("{} x\n{} x\n", pki.fingerprint("listed"), pki.public_key_fingerprint("bykey")));
    let access = instance.write(
        "ccert_access",
        format!("{} REJECT go away\n{} OK\n", pki.fingerprint("self"), pki.public_key_fingerprint("trusted")),
    );
    instance.add_main_cf(&format!("relay_clientcerts = texthash:{}\nmynetworks = 192.0.2.0/24\n", list.display()));
    for (port, restriction) in [
        (certificates, "permit_tls_clientcerts,reject".to_owned()),
        (trusted, "permit_tls_all_clientcerts,reject".to_owned()),
        (table, format!("check_ccert_access,texthash:{},reject", access.display())),
    ] {
        instance.add_master_cf(&format!(
            "127.0.0.1:{port} inet n - n - - smtpd\n  -o smtpd_relay_restrictions={restriction}\n  -o smtpd_recipient_restrictions="
        ));
    }
    instance.start();
    let denied = "554 5.7.1 <user@example.com>: Recipient address rejected: Access denied";
    for (port, name, wanted) in [
        (certificates, Some("listed"), "250 2.1.5 Ok"),
        (certificates, Some("bykey"), "250 2.1.5 Ok"),
        (certificates, Some("trusted"), denied),
        (certificates, None, denied),
        (trusted, Some("trusted"), "250 2.1.5 Ok"),
        (trusted, Some("self"), denied),
        (trusted, None, denied),
        (table, Some("trusted"), "250 2.1.5 Ok"),
        (table, Some("self"), "554 5.7.1 <self signed>: Client certificate rejected: go away"),
        (table, Some("listed"), denied),
    ] {
        let paths = name.map(|name| {
            let at = |ending: &str| pki.path(&format!("{name}.{ending}")).display().to_string();
            (at("pem"), at("key"))
        });
        let options: Vec<(&str, &str)> =
            paths.iter().flat_map(|(pem, key)| [("certificate", pem.as_str()), ("key", key.as_str())]).collect();
        let mut client = TlsClient::connect(port, &options);
        assert!(client.handshake.starts_with("TLSv1.3"), "{}", client.handshake);
        client.say("EHLO c");
        client.say("MAIL FROM:<a@client.example>");
        assert_eq!(client.say("RCPT TO:<user@example.com>"), wanted, "{name:?}");
    }
}

#[test]
fn certificates_go_by_the_name_that_the_client_wants() {
    let pki = Pki::new();
    pki.certified("table", KeyType::Ec, "/CN=x", &["table.example"]);
    pki.certified("exact", KeyType::Ec, "/CN=x", &["one.example", "two.example"]);
    pki.certified("wild", KeyType::Rsa, "/CN=x", &["*.wild.example"]);
    let mut instance = with_certificates(&Suite::ours(), RunAs::User, &pki, "");
    let (table, table_key) = pki.install(&instance, "table", "table");
    let list = format!("table.example {0} {1}\n.below.example {0} {1}\n", table_key.display(), table.display());
    let map = instance.write("sni", list);
    // One file with everything, and a directory as certbot has it.
    let directory = instance.config().join("chains");
    fs::create_dir(&directory).expect("directory");
    fs::create_dir(directory.join("wild")).expect("directory");
    let read = |name: &str| fs::read(pki.path(name)).expect("read");
    instance.write("chains/exact.pem", [read("exact.key"), read("exact.pem")].concat());
    instance.write("chains/wild/privkey.pem", read("wild.key"));
    instance.write("chains/wild/fullchain.pem", [read("wild.pem"), read("ca.pem")].concat());
    instance.write("chains/wild/chain.pem", read("ca.pem"));
    instance.add_main_cf(&format!(
        "tls_server_sni_maps = texthash:{}\ntls_server_chain_directory = {}\n",
        map.display(),
        directory.display()
    ));
    instance.start();
    for (name, wanted) in [
        ("table.example", "table"),
        ("TABLE.example", "table"),
        ("a.b.below.example", "table"),
        ("one.example", "exact"),
        ("two.example", "exact"),
        ("mx.wild.example", "wild"),
        ("a.mx.wild.example", "ec"),
        ("other.example", "ec"),
    ] {
        let client = TlsClient::connect(instance.port(), &[("sni", name)]);
        assert_eq!(client.server_certificate(), pki.digest(wanted), "{name}: {}", client.handshake);
    }
    let mut log = instance.log();
    log.wait_for(&["TLS connection established from", " to mx.wild.example: TLSv1.3"]);
    log.wait_for(&["TLS SNI other.example from", "not matched, using default chain"]);
    // A new certificate in the directory is there without a word to anybody.
    pki.certified("fresh", KeyType::Ec, "/CN=x", &["other.example"]);
    instance.write("chains/fresh.new", [read("fresh.key"), read("fresh.pem")].concat());
    loop {
        let client = TlsClient::connect(instance.port(), &[("sni", "other.example")]);
        if client.server_certificate() == pki.digest("fresh") {
            break;
        }
        assert_eq!(client.server_certificate(), pki.digest("ec"));
    }
}

/// Connects until the server shows this certificate.
fn wait_for_certificate(port: u16, options: &[(&str, &str)], wanted: &str) {
    let end = std::time::Instant::now() + posthouse_tests::PATIENCE;
    while TlsClient::connect(port, options).server_certificate() != wanted {
        assert!(std::time::Instant::now() < end, "the new certificate does not come into use");
    }
}

#[test]
fn a_renewed_certificate_is_taken_up_without_reload() {
    let pki = Pki::new();
    pki.certified("new", KeyType::Ec, "/CN=mail.example.com", &["mail.example.com"]);
    let instance = started(&pki, "");
    let mut log = instance.log();
    let mut open = TlsClient::connect(instance.port(), &[]);
    assert_eq!(open.server_certificate(), pki.digest("ec"));
    let programs = |log: &mut posthouse_tests::Log| {
        let lines = log.lines_with("TLS connection established");
        let id = |line: &String| line.split("smtpd[").nth(1).and_then(|rest| rest.split(']').next()).map(str::to_owned);
        lines.iter().filter_map(id).collect::<std::collections::BTreeSet<_>>()
    };
    pki.install(&instance, "new", "ec");
    wait_for_certificate(instance.port(), &[], &pki.digest("new"));
    // The session from before is still there, and the process is the same.
    assert!(open.message("user@example.com").starts_with("250 2.0.0 Ok: queued"));
    assert_eq!(programs(&mut log).len(), 1);
    // A certificate without its key: the old pair stays, and one warning says so.
    let wrong = fs::read(pki.path("rsa.pem")).expect("read");
    instance.write("ec.pem", wrong);
    log.wait_for(&["tlsmgr", "warning: private key from file", "does not match the certificate in", "stay in use"]);
    assert_eq!(TlsClient::connect(instance.port(), &[]).server_certificate(), pki.digest("new"));
    // Its other half comes: ec.key is not for it either, but the old pair is back when both fit again.
    pki.install(&instance, "ec", "ec");
    wait_for_certificate(instance.port(), &[], &pki.digest("ec"));
    assert_eq!(log.lines_with("does not match the certificate in").len(), 1);
}

#[test]
fn other_mail_programs_send_under_tls() {
    let pki = Pki::new();
    let submissions = ports::free();
    let mut instance = with_certificates(&Suite::ours(), RunAs::User, &pki, "");
    instance.add_master_cf(&format!("127.0.0.1:{submissions} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes"));
    instance.start();
    let ca = pki.path("ca.pem").display().to_string();
    // Python verifies the certificate; swaks takes it.
    let script = "import smtplib, ssl, sys\n\
                  context = ssl.create_default_context(cafile=sys.argv[2])\n\
                  context.check_hostname = False\n\
                  if sys.argv[3] == 'wrapper':\n    client = smtplib.SMTP_SSL('127.0.0.1', int(sys.argv[1]), context=context)\n\
                  else:\n    client = smtplib.SMTP('127.0.0.1', int(sys.argv[1])); client.starttls(context=context)\n\
                  client.sendmail('a@client.example', ['user@example.com'], 'Subject: ' + sys.argv[3] + '\\n\\n' + 'x' * 100000)\n\
                  client.quit()\n";
    for (port, mode) in [(instance.port(), "starttls"), (submissions, "wrapper")] {
        let output =
            Command::new("python3").args(["-c", script, &port.to_string(), &ca, mode]).output().expect("python3");
        assert!(output.status.success(), "{mode}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for (port, option) in [(instance.port(), "--tls"), (submissions, "--tls-on-connect")] {
        let mut swaks = Command::new("swaks");
        swaks.args([
            "--server",
            &format!("127.0.0.1:{port}"),
            option,
            "--to",
            "user@example.com",
            "--from",
            "s@client.example",
        ]);
        let output = swaks.stdin(Stdio::null()).output().expect("swaks: .ci/run installs it");
        assert!(output.status.success(), "{option}: {}", String::from_utf8_lossy(&output.stdout));
    }
    instance.wait_for_queue("hold", |files| files.len() == 4);
}

/// CVE-2011-0411, over the wire: what follows STARTTLS in the clear is never taken as said under TLS.
#[test]
fn nothing_is_smuggled_into_the_session_by_starttls() {
    let pki = Pki::new();
    let instance = started(&pki, "");
    let injected = "STARTTLS\\r\\nMAIL FROM:<evil@x.example>\\r\\nRCPT TO:<user@example.com>\\r\\n";
    let mut client = TlsClient::connect(instance.port(), &[("starttls", injected)]);
    assert!(client.handshake.starts_with("TLSv1.3"), "{}", client.handshake);
    // The first reply under TLS is the reply to the first command under TLS.
    assert_eq!(client.say("RCPT TO:<user@example.com>"), "503 5.5.1 Error: need MAIL command");
    assert_eq!(client.say("NOOP"), "250 2.0.0 Ok");
    instance.log().wait_for(&["improper command pipelining after STARTTLS from", "MAIL FROM:<evil@x.example>"]);
}

#[test]
fn a_new_tlsmgr_takes_over_when_the_old_one_dies() {
    let pki = Pki::new();
    let instance = started(&pki, "");
    let mut open = TlsClient::connect(instance.port(), &[]);
    let running = || {
        let all = instance.processes();
        all.into_iter().filter(|process| Instance::program_of(*process) == "tlsmgr").collect::<Vec<_>>()
    };
    for process in running() {
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL).expect("kill");
    }
    assert_eq!(TlsClient::connect(instance.port(), &[]).server_certificate(), pki.digest("ec"));
    assert!(open.message("user@example.com").starts_with("250 2.0.0 Ok: queued"));
}

#[test]
fn a_required_certificate_is_required() {
    let pki = Pki::new();
    pki.certified("client", KeyType::Ec, "/CN=client", &[]);
    let instance = started(&pki, "smtpd_tls_security_level = encrypt\nsmtpd_tls_req_ccert = yes\n");
    let mut client = TlsClient::connect(instance.port(), &[]);
    assert_eq!(client.say("NOOP"), "421 4.7.1 mail.example.com Error: No client certificate presented");
    let (certificate, key) = (pki.path("client.pem"), pki.path("client.key"));
    let options = [("certificate", certificate.to_str().expect("text")), ("key", key.to_str().expect("text"))];
    let mut client = TlsClient::connect(instance.port(), &options);
    assert!(client.message("user@example.com").starts_with("250 2.0.0 Ok: queued"));
    instance.log().wait_for(&["NOQUEUE: abort: TLS from", ": No client certificate presented"]);
}

/// The settings that Debian's main.cf comes with, but for where the snake oil is.
#[test]
fn debians_own_configuration_works() {
    let pki = Pki::new();
    pki.self_signed("snakeoil", KeyType::Rsa, "/CN=mail.example.com");
    let mut instance = Instance::new(&Suite::ours(), RunAs::User);
    let (certificate, key) = pki.install(&instance, "snakeoil", "ssl-cert-snakeoil");
    instance.add_main_cf(&format!(
        "compatibility_level = 3.6\nsmtpd_tls_cert_file={}\nsmtpd_tls_key_file={}\nsmtpd_tls_security_level=may\n\
         smtp_tls_CApath=/etc/ssl/certs\nsmtp_tls_security_level=may\n\
         smtp_tls_session_cache_database = btree:${{data_directory}}/smtp_scache\n\
         smtpd_recipient_restrictions = check_recipient_access static:HOLD\n",
        certificate.display(),
        key.display()
    ));
    instance.start();
    let mut client = TlsClient::connect(instance.port(), &[]);
    assert!(client.message("user@example.com").starts_with("250 2.0.0 Ok: queued"));
    assert_eq!(instance.log().lines_with("warning").len(), 0, "{}", instance.log().text());
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Memory of a process that it can read and write.
fn memory(process: nix::unistd::Pid) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("maps");
    let file = fs::File::open(format!("/proc/{process}/mem")).expect("mem");
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let parse = |text: &str| u64::from_str_radix(text, 16).expect("an address");
        let (from, to) = (parse(from), parse(to));
        let mut bytes = vec![0; usize::try_from(to - from).expect("a size")];
        if file.read_exact_at(&mut bytes, from).is_ok() {
            all.extend_from_slice(&bytes);
        }
    }
    all
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Keys are for root alone, tlsmgr runs as posthouse-keys and has them; smtpd has neither the file nor the bytes.
#[test]
fn keys_are_in_tlsmgr_and_nowhere_else() {
    if !is_root() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let pki = Pki::new();
    pki.certified("new", KeyType::Ec, "/CN=mail.example.com", &["mail.example.com"]);
    let mut instance = with_certificates(&Suite::ours(), RunAs::Root, &pki, "");
    let close = || {
        for name in ["rsa.key", "ec.key"] {
            let path = instance.config().join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        }
    };
    close();
    let master = fs::read_to_string(instance.config().join("master.cf")).expect("master.cf");
    let jailed = |line: &str| match line.split_whitespace().last() {
        Some("smtpd" | "tlsmgr") => line.replacen(" n - - smtpd", " y - - smtpd", 1).replacen(" n 1000", " y 1000", 1),
        _ => line.to_owned(),
    };
    instance.write("master.cf", master.lines().map(jailed).collect::<Vec<_>>().join("\n") + "\n");
    instance.start();
    let client = TlsClient::connect(instance.port(), &[]);
    assert_eq!(client.server_certificate(), pki.digest("ec"), "{}", client.handshake);
    let secret = secret_bytes(&pki.path("ec.key"));
    assert_eq!(secret.len() + usize::from(secret.len() == 31), 32);
    let find = |program: &str| {
        let all = instance.processes();
        all.into_iter().filter(|process| Instance::program_of(*process) == program).collect::<Vec<_>>()
    };
    for process in find("smtpd") {
        assert!(!holds(&memory(process), &secret), "smtpd has the key");
        for entry in fs::read_dir(format!("/proc/{process}/fd")).expect("fd").flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            assert!(!target.to_string_lossy().ends_with(".key"), "smtpd has {} open", target.display());
        }
    }
    for user in ["posthouse-in", "posthouse-keys"] {
        let mut cat = Command::new("setpriv");
        cat.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups", "--", "cat"]);
        cat.arg(instance.config().join("ec.key"));
        assert!(!cat.output().expect("setpriv").status.success(), "{user} can read the key");
    }
    // Renewed keys are for root alone as well.
    let content = |ending: &str| fs::read(pki.path(&format!("new.{ending}"))).expect("read");
    instance.write("ec.key", content("key"));
    instance.write("ec.pem", content("pem"));
    wait_for_certificate(instance.port(), &[], &pki.digest("new"));
}

/// A line of the log without time, host and process.
fn bare(line: &str) -> String {
    line.split_once("]: ").map_or(line, |(_, text)| text).to_owned()
}

/// The same clients at both: the same lines about TLS, the same Received headers.
#[test]
fn ours_says_what_the_reference_says() {
    if !is_root() {
        return;
    }
    let pki = Pki::new();
    pki.certified("client", KeyType::Rsa, "/O=Org/CN=client one", &[]);
    pki.self_signed("self", KeyType::Ec, "/CN=self signed");
    let at = |name: &str| pki.path(name).display().to_string();
    let (client, client_key, own, own_key) = (at("client.pem"), at("client.key"), at("self.pem"), at("self.key"));
    let sessions: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("maximum", "TLSv1_2")],
        vec![("certificate", &client), ("key", &client_key)],
        vec![("certificate", &client), ("key", &client_key), ("maximum", "TLSv1_2")],
        vec![("certificate", &own), ("key", &own_key)],
        vec![("sni", "unknown.example")],
    ];
    let observed: Vec<(Vec<String>, Vec<String>)> = [Suite::reference(), Suite::ours()]
        .iter()
        .map(|suite| {
            let more = "smtpd_tls_ask_ccert = yes\nsmtpd_peername_lookup = yes\nmail_name = Mail\n";
            let mut instance = with_certificates(suite, RunAs::Root, &pki, more);
            let strict = ports::free();
            instance.add_master_cf(&format!(
                "127.0.0.1:{strict} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt -o smtpd_tls_req_ccert=yes"
            ));
            instance.start();
            for options in &sessions {
                let mut client = TlsClient::connect(instance.port(), options);
                let reply = client.message("user@example.com");
                assert!(reply.starts_with("250 2.0.0 Ok: queued"), "{}: {reply}", suite.name);
                assert_eq!(client.say("STARTTLS"), "554 5.5.1 Error: TLS already active");
                client.say("QUIT");
            }
            let mut client = TlsClient::connect(strict, &[("certificate", &own), ("key", &own_key)]);
            assert_eq!(client.say("NOOP"), "421 4.7.1 mail.example.com Error: Client certificate not trusted");
            instance.wait_for_queue("hold", |files| files.len() == sessions.len());
            let mut log = instance.log();
            log.wait_for_count("disconnect from", sessions.len() + 1);
            let about = ["TLS connection", "TLS SNI", "certificate verification", "abort: TLS", "disconnect from"];
            let lines: Vec<String> =
                log.text().lines().filter(|line| about.iter().any(|part| line.contains(part))).map(bare).collect();
            let mut headers: Vec<String> = Vec::new();
            for id in instance.queue_files("hold") {
                let text = instance.output("postcat", &["-q", &id]);
                let header = text.lines().skip_while(|line| !line.starts_with("Received:"));
                let header: Vec<&str> = header.take_while(|line| !line.starts_with("\tfor ")).collect();
                headers.push(header.join("\n").replace(&id, "ID"));
            }
            headers.sort();
            (lines, headers)
        })
        .collect();
    assert_eq!(observed[1].0, observed[0].0);
    assert_eq!(observed[1].1, observed[0].1);
    assert_eq!(observed[0].1.len(), sessions.len());
}
