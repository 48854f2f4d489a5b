//! OpenLDAP.

use posthouse_tests::Server;

use super::ask::Ask;

const ENTRIES: &str = "\
dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: uid=ada,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: ada
cn: Ada
sn: Lovelace
mail: ada@example.com
mail: a@example.com
telephoneNumber: 1

dn: uid=bob,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: bob
cn: Bob (the builder)*
sn: Builder
mail: bob@example.com

dn: uid=odd\\, name,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: odd, name
cn: Odd
sn: Name
mail: odd@example.com

dn: cn=team,dc=example,dc=com
objectClass: groupOfNames
cn: team
description: team-address
member: uid=ada,ou=people,dc=example,dc=com
member: uid=bob,ou=people,dc=example,dc=com
member: uid=gone,ou=people,dc=example,dc=com

dn: cn=all,dc=example,dc=com
objectClass: groupOfNames
cn: all
member: cn=team,dc=example,dc=com
member: uid=odd\\, name,ou=people,dc=example,dc=com

dn: cn=loop,dc=example,dc=com
objectClass: groupOfNames
cn: loop
member: cn=loop,dc=example,dc=com

dn: cn=urls,dc=example,dc=com
objectClass: groupOfNames
objectClass: labeledURIObject
cn: urls
member: cn=nobody,dc=example,dc=com
labeledURI: ldap:///ou=people,dc=example,dc=com?mail?sub?(uid=ada)
";

#[test]
fn openldap_answers_as_the_reference() {
    let server = Server::ldap(ENTRIES);
    let ask = Ask::new("ldap");
    let host = format!("server_host = 127.0.0.1:{}\n", server.port());
    let people = "search_base = ou=people,dc=example,dc=com\n";
    let top = "search_base = dc=example,dc=com\n";
    let mail = "result_attribute = mail\n";
    let groups = "query_filter = (cn=%s)\nspecial_result_attribute = member\n";
    for (settings, key, value) in [
        (format!("{people}{mail}query_filter = (uid=%s)\n"), "ada", Some("ada@example.com,a@example.com")),
        (format!("{people}{mail}query_filter = uid=%s\n"), "bob", Some("bob@example.com")),
        (format!("{people}{mail}query_filter = (uid=%s)\n"), "nobody", None),
        (
            format!("{people}{mail}query_filter = (&(objectClass=inetOrgPerson)(|(uid=%u)(mail=%s)))\n"),
            "bob@example.com",
            Some("bob@example.com"),
        ),
        (
            format!("{people}result_attribute = mail, telephoneNumber\nquery_filter = (uid=%s)\n"),
            "ada",
            Some("ada@example.com,a@example.com,1"),
        ),
        (format!("{people}{mail}query_filter = (cn=%s)\n"), "Bob (the builder)*", Some("bob@example.com")),
        (
            format!("{people}{mail}query_filter = (uid=%s)\nresult_format = smtp:[%d]\n"),
            "bob",
            Some("smtp:[example.com]"),
        ),
        (format!("{people}{mail}query_filter = (uid=%s)\nresult_filter = <%s>\n"), "bob", Some("<bob@example.com>")),
        (
            format!("search_base = uid=%u,ou=people,dc=%2,dc=%1\nscope = base\n{mail}query_filter = (objectClass=*)\n"),
            "bob@example.com",
            Some("bob@example.com"),
        ),
        (
            format!(
                "search_base = uid=%s,ou=people,dc=example,dc=com\nscope = base\n{mail}query_filter = (objectClass=*)\n"
            ),
            "odd, name",
            Some("odd@example.com"),
        ),
        (format!("{top}scope = one\n{mail}query_filter = (uid=%s)\n"), "bob", None),
        (format!("{top}{mail}{groups}"), "team", Some("ada@example.com,a@example.com,bob@example.com")),
        (format!("{top}{mail}{groups}"), "all", Some("ada@example.com,a@example.com,bob@example.com,odd@example.com")),
        (
            format!("{top}result_attribute =\nleaf_result_attribute = mail\n{groups}"),
            "team",
            Some("ada@example.com,a@example.com,bob@example.com"),
        ),
        (format!("{top}{mail}terminal_result_attribute = description\n{groups}"), "team", Some("team-address")),
        (
            format!("{top}{mail}terminal_result_attribute = description\n{groups}"),
            "all",
            Some("team-address,odd@example.com"),
        ),
        (
            format!("{top}{mail}query_filter = (cn=%s)\nspecial_result_attribute = labeledURI\n"),
            "urls",
            Some("ada@example.com,a@example.com"),
        ),
        (
            format!("{people}{mail}query_filter = (mail=%s)\ndomain = example.com\n"),
            "bob@example.com",
            Some("bob@example.com"),
        ),
        (format!("{people}{mail}query_filter = (mail=%s)\ndomain = example.org\n"), "bob@example.com", None),
        (format!("{people}{mail}query_filter = (uid=%s)\nversion = 3\nbind = no\n"), "bob", Some("bob@example.com")),
        (
            format!("{people}{mail}query_filter = (uid=%s)\nversion = 3\nstart_tls = yes\n"),
            "bob",
            Some("bob@example.com"),
        ),
        (
            format!("{people}{mail}query_filter = (uid=%s)\nbind_dn = cn=admin,dc=example,dc=com\nbind_pw = secret\n"),
            "bob",
            Some("bob@example.com"),
        ),
    ] {
        assert_eq!(ask.both(&format!("{host}{settings}"), key).value(), value, "{settings}{key}");
    }
    let by_uid = format!("{people}{mail}query_filter = (uid=%s)\n");
    let hostile = ["*", "a*", "ada)(uid=*", "*)(|(uid=*", "\\2a", "\\", "(", ")", "&", "%s", "ada\\"];
    assert_eq!(ask.both_many(&format!("{host}{by_uid}"), &hostile), "");
    let in_base = format!(
        "search_base = uid=%s,ou=people,dc=example,dc=com\nscope = base\n{mail}query_filter = (objectClass=*)\n"
    );
    for key in ["ada,ou=people,dc=example,dc=com", "ada+cn=x", "*", "#61"] {
        assert_eq!(ask.ask(&format!("{host}{in_base}"), key).value(), None, "{key}");
    }
    let dead = "server_host = 127.0.0.1:1\n";
    for (settings, reason) in [
        (format!("{host}{by_uid}bind_dn = cn=admin,dc=example,dc=com\nbind_pw = wrong\n"), "invalid credentials"),
        (format!("{host}{by_uid}start_tls = yes\nversion = 3\ntls_require_cert = yes\n"), "TLS"),
        (format!("{dead}{by_uid}"), "refused"),
        (format!("{host}{mail}search_base = dc=example,dc=org\nquery_filter = (uid=%s)\n"), "does not exist"),
        (format!("{host}{people}{mail}query_filter = (uid=%s\n"), "bad search filter"),
        (format!("{host}{mail}query_filter = (uid=%s)\n"), "search_base"),
    ] {
        let answer = ask.both(&settings, "ada");
        assert!(answer.is_error(reason), "{settings}{answer:?}");
    }
    for (more, key, reason) in [
        ("recursion_limit = 20\n", "loop", "recursion level 20 exceeded"),
        ("expansion_limit = 2\n", "team", "xpansion limit"),
    ] {
        let answer = ask.both(&format!("{host}{top}{mail}{groups}{more}"), key);
        assert!(answer.is_error(reason), "{answer:?}");
    }
    let sized = format!("{host}{people}{mail}query_filter = (objectClass=%s)\nsize_limit = 1\n");
    assert!(ask.both(&sized, "inetorgperson").is_error("size limit"));
    let ca = server.path("cert.pem");
    let secured = format!(
        "{host}{by_uid}version = 3\nstart_tls = yes\ntls_require_cert = yes\ntls_ca_cert_file = {}\n",
        ca.display()
    );
    assert_eq!(ask.ask(&secured, "bob").value(), Some("bob@example.com"));
    let failover = format!("server_host = 127.0.0.1:1 ldap://127.0.0.1:{}\n{by_uid}", server.port());
    assert_eq!(ask.both(&failover, "bob").value(), Some("bob@example.com"));
}
