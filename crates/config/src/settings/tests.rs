use super::*;
use std::time::Duration;

fn config(text: &str) -> Config {
    Config::from_text(text).unwrap().with_host(Host::fixed("mx.example.com", Vec::new()))
}

#[test]
fn values_over_defaults() {
    let mut c = config("myorigin = $mydomain\nrelayhost = [a]:25\nbounce_queue_lifetime = 2\nmail_owner =\n  me\n");
    assert_eq!(c.string("myorigin").unwrap(), "example.com");
    assert_eq!(c.string("mail_name").unwrap(), "Posthouse");
    assert_eq!(c.string("mydestination").unwrap(), "mx.example.com, localhost.example.com, localhost");
    assert_eq!(c.list("mydestination").unwrap().len(), 3);
    assert_eq!(c.time("bounce_queue_lifetime").unwrap(), Duration::from_secs(2 * 86_400));
    assert_eq!(c.string("mail_owner").unwrap(), "me");
    assert_eq!(c.int("default_process_limit").unwrap(), 100);
    assert_eq!(c.long("message_size_limit").unwrap(), 10_240_000);
    assert!(!c.bool("soft_bounce").unwrap());
    c.set("mydomain", "example.net");
    assert_eq!(c.string("myorigin").unwrap(), "example.net");
    assert!(c.is_set("relayhost") && !c.is_set("myhostname"));
    assert_eq!(c.string("config_directory").unwrap(), "/nonexistent");
}

#[test]
fn expressions_in_defaults() {
    let mut c = config("");
    assert_eq!(c.int("smtpd_hard_error_limit").unwrap(), 20);
    c.set("stress", "yes");
    assert_eq!(c.int("smtpd_hard_error_limit").unwrap(), 1);
    assert!(c.bool("append_dot_mydomain").unwrap());
    assert!(c.is_backwards_compatible_default("append_dot_mydomain"));
    assert!(!c.is_backwards_compatible_default("soft_bounce"));
    c.set("compatibility_level", "3.6");
    assert!(!c.bool("append_dot_mydomain").unwrap());
    assert!(!c.is_backwards_compatible_default("append_dot_mydomain"));
    assert_eq!(c.compatibility_level().unwrap(), Level { major: 3, minor: 6, patch: 0 });
}

#[test]
fn names_of_the_machine() {
    let named = |text: &str, name: &str| {
        let c = Config::from_text(text).unwrap().with_host(Host::fixed(name, Vec::new()));
        (c.string("myhostname").unwrap(), c.string("mydomain").unwrap())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(named("", "vm"), pair("vm.localdomain", "localdomain"));
    assert_eq!(named("", "vm.example.com"), pair("vm.example.com", "example.com"));
    assert_eq!(named("mydomain = example.net", "vm"), pair("vm.example.net", "example.net"));
    assert_eq!(named("myhostname = a.b.c", "vm"), pair("a.b.c", "b.c"));
    assert_eq!(named("myhostname = a", "vm"), pair("a", "localdomain"));
}

#[test]
fn networks_follow_interfaces_protocols_and_style() {
    let interface = |address: &str, prefix| Interface { address: address.parse().unwrap(), prefix };
    let host = Host::fixed("a", vec![interface("127.0.0.1", 8), interface("192.0.2.2", 24), interface("::1", 128)]);
    let networks = |text: &str| {
        Config::from_text(text).unwrap().with_host(host.clone()).string("mynetworks").map_err(|e| e.to_string())
    };
    assert_eq!(networks("").unwrap(), "127.0.0.0/8 192.0.2.0/24 [::1]/128");
    assert_eq!(networks("compatibility_level = 2").unwrap(), "127.0.0.1/32 192.0.2.2/32 [::1]/128");
    assert_eq!(networks("inet_interfaces = loopback-only").unwrap(), "127.0.0.0/8 [::1]/128");
    assert_eq!(networks("inet_interfaces = 192.0.2.2\ninet_protocols = ipv4").unwrap(), "192.0.2.0/24");
    assert_eq!(networks("inet_protocols = ipv6").unwrap(), "[::1]/128");
    assert_eq!(
        networks("inet_interfaces = 192.0.2.9").unwrap_err(),
        "parameter inet_interfaces: no local interface found for 192.0.2.9"
    );
}

#[test]
fn per_service_parameters() {
    let c = config(
        "default_destination_concurrency_limit = 7\nslow_destination_concurrency_limit = 1\n\
         default_destination_rate_delay = 2m\nslow_destination_rate_delay = 5",
    );
    assert_eq!(c.service_int("smtp", "destination_concurrency_limit").unwrap(), 7);
    assert_eq!(c.service_int("local", "destination_concurrency_limit").unwrap(), 2);
    assert_eq!(c.service_int("slow", "destination_concurrency_limit").unwrap(), 1);
    assert_eq!(c.service_int("other", "destination_concurrency_limit").unwrap(), 7);
    assert_eq!(c.service_time("other", "destination_rate_delay").unwrap(), Duration::from_secs(120));
    assert_eq!(c.service_time("slow", "destination_rate_delay").unwrap(), Duration::from_secs(5));
    assert_eq!(c.service_string("x", "destination_concurrency_positive_feedback").unwrap(), "1");
    assert_eq!(c.service_int("smtpd", "session_limit").unwrap(), 1000);
    assert!(matches!(c.service_int("smtp", "bogus"), Err(Error::Unknown(_))));
}

#[test]
fn errors_name_the_place() {
    let c = config(
        "\nsoft_bounce = maybe\nline_length_limit = 5\nbounce_size_limit = 5x\n\
                    in_flow_delay = 11\nqueue_run_delay = 3y\nmyhostname =\nrelayhost = ${x\n",
    );
    let at = |line| format!("/nonexistent/main.cf, line {line}: ");
    let text = |r: Result<(), Error>| r.unwrap_err().to_string();
    assert_eq!(text(c.bool("soft_bounce").map(drop)), at(2) + "bad boolean configuration: soft_bounce = maybe");
    assert_eq!(text(c.int("line_length_limit").map(drop)), at(3) + "invalid line_length_limit parameter value 5 < 512");
    assert_eq!(
        text(c.int("bounce_size_limit").map(drop)),
        at(4) + "bad numerical configuration: bounce_size_limit = 5x"
    );
    assert_eq!(text(c.time("in_flow_delay").map(drop)), at(5) + "invalid in_flow_delay parameter value 11 > 10");
    assert_eq!(text(c.time("queue_run_delay").map(drop)), at(6) + "bad time configuration: queue_run_delay = 3y");
    assert_eq!(text(c.string("myhostname").map(drop)), at(7) + "parameter myhostname must not be empty");
    assert_eq!(
        text(c.string("relayhost").map(drop)),
        at(8) + "parameter relayhost: truncated macro reference: \"${x\""
    );
    assert_eq!(text(c.string("no_such").map(drop)), "unknown parameter: no_such");
    assert_eq!(c.optional_string("no_such").unwrap(), None);
}

#[test]
fn raw_parameters_and_attributes() {
    let c = config("luser_relay = $local@${extension?{x-$extension}:{y}}\nmine = $mail_name\n");
    let text = c.string("luser_relay").unwrap();
    assert_eq!(text, "$local@${extension?{x-$extension}:{y}}");
    let expanded = c.expand(&text, &|name| (name == "local").then(|| "a$b".to_owned()));
    assert_eq!(expanded.unwrap(), "a$b@y");
    assert_eq!(c.optional_string("mine").unwrap().unwrap(), "Posthouse");
}

#[test]
fn every_default_is_of_its_type() {
    use crate::parameters::{Class, Kind};
    let c = config("").with_host(Host::fixed("mx.example.com", vec![]));
    for row in parameters::all().filter(|row| matches!(row.class, Class::Builtin | Class::Service | Class::Ours)) {
        // virtual_mailbox_base has no default and must not be empty.
        if ["virtual_mailbox_base", "process_id", "process_name", "service_name"].contains(&row.name) {
            continue;
        }
        let checked = match row.kind {
            Kind::Str | Kind::Raw | Kind::Feedback => c.string(row.name).map(drop),
            Kind::Bool => c.bool(row.name).map(drop),
            Kind::Int => c.int(row.name).map(drop),
            Kind::Long => c.long(row.name).map(drop),
            Kind::Time => c.time(row.name).map(drop),
        };
        checked.unwrap_or_else(|error| panic!("{}: {error}", row.name));
    }
}

#[test]
fn options_come_last() {
    let mut c = config("a = 1");
    c.set_option("{ a = 2 3 }").unwrap();
    c.set_option("relayhost=x").unwrap();
    assert_eq!(c.optional_string("a").unwrap().unwrap(), "2 3");
    assert_eq!(c.string("relayhost").unwrap(), "x");
    assert!(c.set_option("nothing").is_err());
}

/// Fixed: these overflowed the stack. Found by tests/tests/mutations.rs.
#[test]
fn defaults_that_are_computed_from_each_other_come_to_an_end() {
    let cases = [
        ("myhostname = mx.$mydomain", "mx.localdomain", "localdomain"),
        ("mydomain = x.$myhostname", "vm.x.", "x.vm.x."),
        ("inet_interfaces = $mynetworks", "vm.localdomain", "localdomain"),
        ("inet_protocols = $mynetworks", "vm.localdomain", "localdomain"),
        ("mynetworks_style = $mynetworks", "vm.localdomain", "localdomain"),
    ];
    for (text, hostname, domain) in cases {
        let c = config(text).with_host(Host::fixed("vm", vec![]));
        assert_eq!(c.string("myhostname").unwrap(), hostname, "{text}");
        assert_eq!(c.string("mydomain").unwrap(), domain, "{text}");
        let _ = c.string("mynetworks");
    }
    assert!(config("mydomain = $mydomain").string("mydomain").is_err());
}

/// Debian's installation sets `myorigin = /etc/mailname`; addresses became `user@/etc/mailname`.
#[test]
fn myorigin_can_be_a_file() {
    let mut file = std::env::temp_dir();
    file.push(format!("posthouse-mailname-{}", std::process::id()));
    let text = format!("myorigin = {}\nbounce_notice_recipient = postmaster@$myorigin\n", file.display());
    let config = config(&text);
    std::fs::write(&file, " origin.example \nother.example\n").unwrap();
    assert_eq!(config.string("myorigin").unwrap(), "origin.example");
    assert_eq!(config.string("bounce_notice_recipient").unwrap(), "postmaster@origin.example");
    assert_eq!(config.written("myorigin"), Some(file.display().to_string().as_str()));
    std::fs::write(&file, "\n").unwrap();
    assert!(config.string("myorigin").unwrap_err().to_string().contains("no domain in the first line"));
    std::fs::remove_file(&file).unwrap();
    assert!(config.string("myorigin").is_err());
}
