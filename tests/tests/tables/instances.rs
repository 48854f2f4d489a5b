//! Tables behind servers as daemons use them.

use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use posthouse_tests::instance::RunAs;
use posthouse_tests::{Instance, PATIENCE, Server, SmtpClient, Suite, ports};

use super::false_servers::{netstring, serve};

#[test]
fn a_slow_table_holds_up_only_the_session_that_asks() {
    let (seen, requests) = channel();
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let port = serve(move |stream| {
        let mut reader = BufReader::new(stream);
        while let Some(request) = netstring(&mut reader) {
            let slow = request.contains("slow");
            seen.send(request).expect("the test listens");
            if slow {
                let _ = released.lock().expect("one at a time").recv();
            }
            let reply = if slow { "OK REJECT so slow" } else { "NOTFOUND " };
            let _ = reader.get_mut().write_all(format!("{}:{reply},", reply.len()).as_bytes());
        }
    });
    let instance = Instance::running(&format!(
        "smtpd_recipient_restrictions = check_recipient_access socketmap:inet:127.0.0.1:{port}:access\n\
         smtpd_relay_restrictions = permit_mynetworks, reject\n"
    ));
    let mut slow = SmtpClient::greeted(instance.port());
    slow.command("MAIL FROM:<a@client.example>", 250);
    slow.send("RCPT TO:<slow@example.com>\r\n");
    assert_eq!(requests.recv_timeout(PATIENCE).as_deref(), Ok("access slow@example.com"));
    // Others are served meanwhile, by the same table, too.
    for number in 0..3 {
        let mut quick = SmtpClient::greeted(instance.port());
        quick.command("MAIL FROM:<a@client.example>", 250);
        quick.command(&format!("RCPT TO:<quick{number}@example.com>"), 250);
        quick.command("QUIT", 221);
    }
    release.send(()).expect("the server waits");
    assert!(slow.reply().join("\n").contains("so slow"));
}

#[test]
fn proxymap_serves_what_is_approved() {
    let mut instance = Instance::new(&Suite::ours(), RunAs::User);
    let table = instance.write("aliases", "known@v.example someone@example.com\n");
    instance.add_main_cf(&format!(
        "virtual_alias_domains = v.example\nvirtual_alias_maps = proxy:texthash:{}\n\
         smtpd_recipient_restrictions = check_recipient_access proxy:texthash:{}\n\
         smtpd_relay_restrictions = permit_mynetworks, reject\n\
         proxy_read_maps = $virtual_alias_maps\n",
        table.display(),
        instance.config().join("other").display()
    ));
    instance.write("other", "x REJECT\n");
    instance.add_master_cf("proxymap unix - - n - - proxymap");
    instance.start();
    let mut client = SmtpClient::greeted(instance.port());
    client.command("MAIL FROM:<a@client.example>", 250);
    // The second table is not approved.
    assert!(client.command("RCPT TO:<known@v.example>", 451).contains("4.3"));
    instance.log().wait_for(&["request for unapproved table", "other"]);
    instance.log().wait_for(&["to approve this table for read-only access, list proxy:texthash:"]);
    instance.add_main_cf("smtpd_recipient_restrictions = permit_mynetworks, reject\n");
    instance.output("postfix", &["-c", &instance.config().to_string_lossy(), "reload"]);
    let end = Instant::now() + PATIENCE;
    // The next worker has the new settings.
    loop {
        let mut client = SmtpClient::greeted(instance.port());
        client.command("MAIL FROM:<a@client.example>", 250);
        client.send("RCPT TO:<known@v.example>\r\n");
        if client.reply().join("").starts_with("250") {
            client.command("RCPT TO:<unknown@v.example>", 550);
            break;
        }
        assert!(Instant::now() < end);
    }
}

const DATABASE: &str =
    "CREATE TABLE aliases (name TEXT, goal TEXT); INSERT INTO aliases VALUES ('known@v.example', 'root');";

fn make_database(instance: &Instance) -> String {
    let path = instance.config().join("mail.db");
    let made = Command::new("sqlite3").arg(&path).arg(DATABASE).status();
    assert!(made.expect("sqlite3: .ci/run installs it").success());
    path.display().to_string()
}

/// The reply to RCPT.
fn recipient(port: u16, address: &str) -> String {
    let mut client = SmtpClient::greeted(port);
    client.command("MAIL FROM:<a@client.example>", 250);
    client.send(format!("RCPT TO:<{address}>\r\n"));
    client.reply().join("\n")
}

fn wait_for_reply(port: u16, address: &str, code: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let reply = recipient(port, address);
        if reply.starts_with(code) {
            return;
        }
        assert!(Instant::now() < end, "{reply}");
    }
}

#[test]
fn a_jailed_smtpd_asks_a_table_that_only_root_may_read() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut instance = Instance::new(&Suite::ours(), RunAs::Root);
    let database = make_database(&instance);
    let settings = format!("dbpath = {database}\nquery = SELECT goal FROM aliases WHERE name = '%s'\n");
    let file = instance.write("aliases.cf", &settings);
    for path in [file.as_path(), database.as_ref()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    let port = ports::free();
    instance.add_main_cf(&format!(
        "virtual_alias_domains = v.example\nvirtual_alias_maps = sqlite:{}\nsmtpd_relay_restrictions = permit_mynetworks, reject\n",
        file.display()
    ));
    instance.add_master_cf(&format!("127.0.0.1:{port} inet n - y - - smtpd"));
    instance.start();
    assert!(recipient(port, "known@v.example").starts_with("250"));
    assert!(recipient(port, "unknown@v.example").starts_with("550"));
    // A changed file is taken up without a word from anybody.
    let changed = settings.replace("'%s'", "'%s' OR 'other@v.example' = '%s'");
    fs::write(&file, changed).expect("write");
    wait_for_reply(port, "other@v.example", "250");
    // Administrators need no running suite.
    instance.stop();
    let table = format!("sqlite:{}", file.display());
    assert_eq!(instance.output("postmap", &["-q", "known@v.example", &table]), "root\n");
}

#[test]
fn a_database_that_dies_costs_time_and_no_mail() {
    let mut server = Server::postgres(
        "CREATE TABLE aliases (name TEXT, goal TEXT); INSERT INTO aliases VALUES ('known@v.example', 'root');",
    );
    let mut instance = Instance::new(&Suite::ours(), RunAs::User);
    let file = instance.write(
        "aliases.cf",
        format!(
            "hosts = 127.0.0.1:{}\nuser = mail\npassword = secret\ndbname = mail\n\
             query = SELECT goal FROM aliases WHERE name = '%s'\n",
            server.port()
        ),
    );
    instance.add_main_cf(&format!(
        "virtual_alias_domains = v.example\nvirtual_alias_maps = pgsql:{}\nsmtpd_relay_restrictions = permit_mynetworks, reject\n",
        file.display()
    ));
    instance.start();
    assert!(recipient(instance.port(), "known@v.example").starts_with("250"));
    server.kill();
    assert!(recipient(instance.port(), "known@v.example").starts_with("451"));
    assert!(recipient(instance.port(), "unknown@v.example").starts_with("451"));
    server.restart_postgres();
    wait_for_reply(instance.port(), "known@v.example", "250");
    assert!(recipient(instance.port(), "unknown@v.example").starts_with("550"));
}
