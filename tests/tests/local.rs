//! Local delivery: mailboxes that are another agent's, and whose rights alias files and lists have.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::PathBuf;

use nix::unistd::User;
use posthouse_tests::instance::RunAs;
use posthouse_tests::{Instance, Sink, SmtpClient, Suite};

/// An instance with the Maildirs of `example.com` as virtual's.
fn with_virtual(more: &str) -> Instance {
    let instance = Instance::new(&Suite::ours(), RunAs::User);
    let (uid, gid) = instance.ids();
    let user = Instance::user_name();
    instance.add_main_cf(&format!(
        "virtual_mailbox_domains = v.example\nvirtual_mailbox_base = {}\n\
         virtual_mailbox_maps = inline:{{ {{ {user}@example.com = user/ }}, {{ {user}@mail.example.com = origin/ }}, \
         {{ ann@example.com = ann/ }} }}\n\
         virtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{gid}\nvirtual_minimum_uid = 1\n{more}",
        instance.mail().display()
    ));
    instance
}

#[test]
fn mailbox_transport_passes_mail_to_virtual() {
    let user = Instance::user_name();
    let instance = with_virtual("");
    let aliases = instance.write("aliases", format!("team: {user}, ann@example.com\n"));
    instance.add_main_cf(&format!(
        "mailbox_transport = virtual\nalias_maps = texthash:{}\n",
        alias_file(&instance, &aliases)
    ));
    let mut instance = instance;
    instance.start();
    let mut log = instance.log();
    let mut client = SmtpClient::greeted(instance.port());
    let known = client.message("s@client.example", &[&format!("{user}@example.com")], "Subject: one\r\n\r\nx\r\n");
    let line = log.wait_for(&[&known, "status=sent (delivered to maildir)"]);
    assert!(line.contains("postfix/virtual[") && line.contains("relay=virtual"), "{line}");
    log.wait_for(&[&known, ": removed"]);
    assert_eq!(log.lines_with(&format!("{known}: to=")).len(), 1, "one line for one delivery: {}", log.text());
    assert_eq!(instance.maildir("user").len(), 1);
    // A name that the machine does not know, but virtual does; and one that nobody knows.
    let ann = client.message("s@client.example", &["ann@example.com"], "Subject: two\r\n\r\nx\r\n");
    log.wait_for(&[&ann, "postfix/virtual[", "status=sent (delivered to maildir)"]);
    let nobody = client.message("s@client.example", &["nothere@example.com"], "Subject: three\r\n\r\nx\r\n");
    let line = log.wait_for(&[&nobody, "to=<nothere@example.com>", "status=bounced"]);
    assert!(line.contains("postfix/virtual[") && line.contains("unknown user"), "{line}");
    log.wait_for(&[&nobody, "sender non-delivery notification"]);
    // Aliases come first; each member goes to the other agent under its own name.
    let team = client.message("s@client.example", &["team@example.com"], "Subject: four\r\n\r\nx\r\n");
    log.wait_for(&[&team, "to=<ann@example.com>, orig_to=<team@example.com>", "status=sent"]);
    log.wait_for(&[&team, &format!("to=<{user}@mail.example.com>, orig_to=<team@example.com>"), "status=sent"]);
    log.wait_for(&[&team, ": removed"]);
    assert_eq!((instance.maildir("ann").len(), instance.maildir("origin").len()), (2, 1));
}

/// A `texthash:` table has a blank where an alias file has a colon.
fn alias_file(instance: &Instance, aliases: &std::path::Path) -> String {
    let text = fs::read_to_string(aliases).expect("the alias file");
    instance.write("aliases.text", text.replace(": ", " ")).display().to_string()
}

#[test]
fn mailbox_transport_passes_mail_to_lmtp() {
    let user = Instance::user_name();
    let server =
        Sink::with_answers(|line| (line == "RCPT TO:<later@example.com>").then(|| "450 4.2.1 later".to_owned()));
    let instance = with_virtual(&format!("mailbox_transport = lmtp:inet:[127.0.0.1]:{}\n", server.port()));
    instance.add_master_cf("lmtp unix - - n - - lmtp\n");
    let mut instance = instance;
    instance.start();
    let mut log = instance.log();
    let mut client = SmtpClient::greeted(instance.port());
    let to = format!("{user}@example.com");
    let id = client.message("s@client.example", &[&to], "Subject: lmtp\r\n\r\nx\r\n");
    let message = &server.wait_for(1)[0];
    assert!(message.sender.starts_with("<s@client.example>"), "{}", message.sender);
    assert_eq!(message.recipients, [format!("<{to}>")]);
    assert!(String::from_utf8_lossy(&message.content).contains("Subject: lmtp"));
    assert!(server.commands().iter().any(|line| line.starts_with("LHLO ")), "{:?}", server.commands());
    let line = log.wait_for(&[&id, "status=sent"]);
    assert!(
        line.contains("postfix/lmtp[") && line.contains(&format!("relay=127.0.0.1[127.0.0.1]:{}", server.port())),
        "{line}"
    );
    log.wait_for(&[&id, ": removed"]);
    let later = client.message("s@client.example", &["later@example.com"], "Subject: later\r\n\r\nx\r\n");
    log.wait_for(&[&later, "postfix/lmtp[", "dsn=4.2.1", "status=deferred"]);
    instance.wait_for_queue("deferred", |files| files.contains(&later));
}

#[test]
fn a_transport_that_is_missing_or_ourselves_defers() {
    for (transport, text) in [("nothere:x", "mail transport unavailable"), ("local", "mail system configuration error")]
    {
        let mut instance = with_virtual(&format!("mailbox_transport = {transport}\n"));
        instance.start();
        let mut log = instance.log();
        let id = SmtpClient::greeted(instance.port()).message("", &[&Instance::user_name()], "Subject: x\r\n\r\nx\r\n");
        log.wait_for(&[&id, "postfix/local[", "relay=local", "status=deferred", text]);
        instance.wait_for_queue("deferred", |files| files.contains(&id));
    }
}

#[test]
fn tables_choose_transports_and_commands() {
    let user = Instance::user_name();
    let instance = with_virtual("");
    let copy = instance.mail().join("copy");
    instance.add_main_cf(&format!(
        "recipient_delimiter = +\nmailbox_transport_maps = inline:{{ {{ ann = virtual }} }}\nfallback_transport_maps = inline:{{ {{ bob = error:5.1.1 bob has left }} }}\n\
         fallback_transport = error:4.2.1 nobody yet\nmailbox_command_maps = inline:{{ {{ {user} = cat > {} }} }}\nmailbox_command = exit 1\n",
        copy.display()
    ));
    let mut instance = instance;
    instance.start();
    let mut log = instance.log();
    let mut client = SmtpClient::greeted(instance.port());
    let mut sent = |to: &str| client.message("s@client.example", &[to], "Subject: x\r\n\r\nx\r\n");
    let (ann, bob, carl, known) =
        (sent("ann@example.com"), sent("bob+x@example.com"), sent("carl@example.com"), sent(&user));
    log.wait_for(&[&ann, "postfix/virtual[", "status=sent"]);
    log.wait_for(&[&bob, "postfix/error[", "dsn=5.1.1", "status=bounced (bob has left)"]);
    log.wait_for(&[&carl, "postfix/error[", "dsn=4.2.1", "status=deferred (nobody yet)"]);
    log.wait_for(&[&known, "postfix/local[", "status=sent (delivered to command: cat > "]);
    assert!(fs::read_to_string(copy).expect("what the command wrote").contains("\nSubject: x\n"));
}

/// As root: who did the work, by alias file or list.
struct Rights {
    instance: Instance,
    out: PathBuf,
    user: User,
}

impl Rights {
    /// An instance in which `owned` is an alias file of a user's, `ours` one of root's.
    fn start(suite: &Suite) -> Option<Rights> {
        if !nix::unistd::geteuid().is_root() {
            return None;
        }
        let user = User::from_name("posthouse-test").ok().flatten().expect("user posthouse-test: .ci/run makes it");
        let instance = Instance::new(suite, RunAs::Root);
        let out = instance.path().join("out");
        fs::create_dir(&out).expect("a directory");
        fs::set_permissions(&out, fs::Permissions::from_mode(0o1777)).expect("chmod");
        let lists = instance.path().join("lists");
        let theirs = instance.path().join("theirs");
        for directory in [&lists, &theirs] {
            fs::create_dir(directory).expect("a directory");
        }
        let uid = Some(user.uid.as_raw());
        let write = |path: PathBuf, text: String, owned: bool, mode: u32| {
            fs::write(&path, text).expect("write");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            if owned {
                chown(&path, uid, None).expect("chown");
            }
        };
        let shown = out.display();
        write(lists.join("root"), format!("\"|cat > {shown}/list-root\""), false, 0o600);
        write(lists.join("user"), format!("\"|cat > {shown}/list-user\", {shown}/list-file"), true, 0o600);
        write(lists.join("secret"), "nothing-for-strangers".into(), false, 0o600);
        symlink(lists.join("secret"), theirs.join("link")).expect("link");
        lchown(theirs.join("link"), uid, None).expect("chown");
        chown(&theirs, uid, None).expect("chown");
        let aliases = |name: &str, text: String, owned: bool| write(instance.config().join(name), text, owned, 0o644);
        aliases(
            "ours",
            format!(
                "command \"|cat > {shown}/command-ours\"\nfile {shown}/file-ours\nroot-list :include:{0}/root\n\
                 user-list :include:{0}/user\nstolen :include:{1}/link\n",
                lists.display(),
                theirs.display()
            ),
            false,
        );
        aliases(
            "owned",
            format!("their-command \"|cat > {shown}/command-owned\"\ntheir-file {shown}/file-owned\n"),
            true,
        );
        instance.add_main_cf(&format!(
            "alias_maps = texthash:{0}/ours, texthash:{0}/owned\nallow_mail_to_commands = alias, forward, include\n\
             allow_mail_to_files = alias, forward, include\ndefault_privs = nobody\n",
            instance.config().display()
        ));
        let mut instance = instance;
        instance.start();
        Some(Rights { instance, out, user })
    }

    /// Sends to an alias and waits until its mail is gone, or deferred.
    fn deliver(&self, name: &str, wanted: &str) -> String {
        let mut log = self.instance.log();
        let mut client = SmtpClient::greeted(self.instance.port());
        let id = client.message("s@client.example", &[&format!("{name}@example.com")], "Subject: x\r\n\r\nx\r\n");
        log.wait_for(&[&id, "postfix/local[", wanted])
    }

    fn owner(&self, name: &str) -> u32 {
        fs::metadata(self.out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")).uid()
    }
}

#[test]
fn commands_and_files_have_the_rights_of_the_alias_file() {
    for suite in [Suite::reference(), Suite::ours()] {
        rights_of(&suite);
    }
}

/// The same in both suites.
fn rights_of(suite: &Suite) {
    let Some(rights) = Rights::start(suite) else { return };
    let nobody = User::from_name("nobody").ok().flatten().expect("nobody").uid.as_raw();
    for (alias, file, owner) in [
        ("command", "command-ours", nobody),
        ("file", "file-ours", nobody),
        ("their-command", "command-owned", rights.user.uid.as_raw()),
        ("their-file", "file-owned", rights.user.uid.as_raw()),
        ("root-list", "list-root", nobody),
        ("user-list", "list-user", rights.user.uid.as_raw()),
    ] {
        rights.deliver(alias, "status=sent");
        assert_eq!(rights.owner(file), owner, "{alias}");
    }
    assert_eq!(rights.owner("list-file"), rights.user.uid.as_raw());
}

#[test]
fn a_link_of_a_user_does_not_make_root_read() {
    let Some(rights) = Rights::start(&Suite::ours()) else { return };
    let line = rights.deliver("stolen", "status=");
    assert!(line.contains("status=deferred (mail system configuration error)"), "{line}");
    assert!(!rights.instance.log().text().contains("nothing-for-strangers"));
}
