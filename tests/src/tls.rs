//! Certificates and clients for tests of TLS: `openssl` makes the ones, Python's `ssl` and `openssl s_client` are the others.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Instance;

/// An authority and what it has certified, as PEM files.
#[derive(Debug)]
pub struct Pki {
    directory: tempfile::TempDir,
}

/// What a key is like.
#[derive(Clone, Copy, Debug)]
pub enum KeyType {
    /// RSA, 2048 bits.
    Rsa,
    /// The curve P-256.
    Ec,
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("openssl: .ci/run installs it");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl KeyType {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            KeyType::Rsa => &["-newkey", "rsa:2048"],
            KeyType::Ec => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
        }
    }
}

impl Default for Pki {
    fn default() -> Pki {
        Pki::new()
    }
}

impl Pki {
    /// A fresh authority.
    #[must_use]
    pub fn new() -> Pki {
        let pki = Pki { directory: tempfile::tempdir().expect("temporary directory") };
        pki.self_signed("ca", KeyType::Ec, "/CN=Test CA");
        pki
    }

    /// The path of a file: `NAME.pem`, `NAME.key`, `ca.pem`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `NAME.pem` that nobody vouches for, with `NAME.key`.
    pub fn self_signed(&self, name: &str, kind: KeyType, subject: &str) {
        let (key, pem) = (self.text(&format!("{name}.key")), self.text(&format!("{name}.pem")));
        let mut arguments =
            vec!["req", "-x509", "-nodes", "-days", "30", "-subj", subject, "-keyout", &key, "-out", &pem];
        arguments.extend(kind.arguments());
        openssl(&arguments);
    }

    /// `NAME.pem` that the authority has signed, for these host names, with `NAME.key`.
    pub fn certified(&self, name: &str, kind: KeyType, subject: &str, hosts: &[&str]) {
        let at = |ending: &str| self.text(&format!("{name}.{ending}"));
        let (key, request, extensions, pem) = (at("key"), at("csr"), at("ext"), at("pem"));
        let mut arguments = vec!["req", "-new", "-nodes", "-subj", subject, "-keyout", &key, "-out", &request];
        arguments.extend(kind.arguments());
        openssl(&arguments);
        let names: Vec<String> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
        let text = if names.is_empty() { String::new() } else { format!("subjectAltName={}\n", names.join(",")) };
        fs::write(&extensions, text).expect("write");
        let (ca, ca_key) = (self.text("ca.pem"), self.text("ca.key"));
        openssl(&[
            "x509",
            "-req",
            "-days",
            "30",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-extfile",
            &extensions,
            "-out",
            &pem,
        ]);
    }

    /// The SHA-256 of a certificate, lower-case hexadecimal digits.
    #[must_use]
    pub fn digest(&self, name: &str) -> String {
        self.fingerprint(name).replace(':', "").to_lowercase()
    }

    /// The fingerprint of a certificate, as tables have it.
    #[must_use]
    pub fn fingerprint(&self, name: &str) -> String {
        let text = openssl(&["x509", "-in", &self.text(&format!("{name}.pem")), "-noout", "-fingerprint", "-sha256"]);
        text.trim().rsplit('=').next().expect("a fingerprint").to_owned()
    }

    /// The fingerprint of a certificate's public key, as tables have it.
    #[must_use]
    pub fn public_key_fingerprint(&self, name: &str) -> String {
        let (key, der) = (self.text(&format!("{name}.key")), self.text(&format!("{name}.pub")));
        openssl(&["pkey", "-in", &key, "-pubout", "-outform", "DER", "-out", &der]);
        let text = openssl(&["dgst", "-sha256", "-c", &der]);
        text.trim().rsplit(' ').next().expect("a digest").to_uppercase()
    }

    /// Puts `NAME.pem` and `NAME.key` where an instance reads them, both replaced as a whole; the paths.
    pub fn install(&self, instance: &Instance, name: &str, target: &str) -> (PathBuf, PathBuf) {
        let put = |ending: &str| {
            let content = fs::read(self.path(&format!("{name}.{ending}"))).expect("read");
            let new = instance.write(&format!("{target}.{ending}.new"), content);
            let path = instance.config().join(format!("{target}.{ending}"));
            fs::rename(new, &path).expect("rename");
            path
        };
        (put("pem"), put("key"))
    }
}

/// An SMTP session under TLS.
#[derive(Debug)]
pub struct TlsClient {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// How the handshake went: `TLSv1.3 CIPHER DIGEST`, or `failed: ...`, or the reply to STARTTLS.
    pub handshake: String,
}

impl TlsClient {
    /// Connects to a port of this machine; `options` as `tls_client.py` has them.
    #[must_use]
    pub fn connect(port: u16, options: &[(&str, &str)]) -> TlsClient {
        let mut command = Command::new("python3");
        command.arg("-c").arg(include_str!("tls_client.py")).arg(format!("port={port}"));
        command.args(options.iter().map(|(name, value)| format!("{name}={value}")));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut client = TlsClient { child, input, output, handshake: String::new() };
        client.handshake = client.line();
        if options.contains(&("wrapper", "yes")) && client.handshake.starts_with("TLS") {
            client.line();
        }
        client
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("read");
        line.trim_end().to_owned()
    }

    /// The SHA-256 of the server's certificate.
    #[must_use]
    pub fn server_certificate(&self) -> &str {
        self.handshake.rsplit(' ').next().unwrap_or_default()
    }

    /// Sends a line (with `\r\n` written out where there are several); the reply, its lines joined by `|`.
    pub fn say(&mut self, line: &str) -> String {
        // A client that has gone answers with an empty line.
        let _ = writeln!(self.input, "{line}").and_then(|()| self.input.flush());
        self.line()
    }

    /// Sends a message; the reply to its end.
    pub fn message(&mut self, recipient: &str) -> String {
        for line in
            ["EHLO client.example", "MAIL FROM:<sender@client.example>", &format!("RCPT TO:<{recipient}>"), "DATA"]
        {
            let reply = self.say(line);
            assert!(reply.starts_with('2') || reply.starts_with("354"), "{line}: {reply}");
        }
        self.say("Subject: x\\r\\n\\r\\nunder TLS\\r\\n.")
    }
}

impl Drop for TlsClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `openssl s_client -starttls smtp` says about a port.
#[must_use]
pub fn s_client(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-starttls", "smtp", "-connect", &format!("127.0.0.1:{port}")]).args(arguments);
    let output = command.stdin(Stdio::null()).output().expect("openssl: .ci/run installs it");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The bytes of a private key's secret part, to look for where they must not be.
#[must_use]
pub fn secret_bytes(key: &Path) -> Vec<u8> {
    let text = openssl(&["pkey", "-in", &key.display().to_string(), "-noout", "-text"]);
    let lines = text.lines().skip_while(|line| !line.starts_with("priv:")).skip(1);
    let digits: String = lines.take_while(|line| line.starts_with(' ')).map(str::trim).collect();
    digits.split(':').filter_map(|pair| u8::from_str_radix(pair, 16).ok()).skip_while(|byte| *byte == 0).collect()
}
