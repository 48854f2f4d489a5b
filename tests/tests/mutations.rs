//! Every parser of bytes from outside takes what nobody meant: good inputs, bent in many small ways. None may panic, take
//! long, or grow beyond its input.
//!
//! The inputs are the same in each run. A failure names parser, seed and round; `MUTATION_SEED` and `MUTATION_ROUNDS` run
//! others.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use config::{Config, MasterCf};
use smtp_proto::client::{Capabilities, ReplyReader};
use smtp_proto::server::{BareNewline, CommandLists, Session, Settings, Step};

/// How long one input may take, on a busy machine and without optimization.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest input.
const LONGEST: usize = 8192;

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap_or(0) % bound.max(1)
    }
}

/// What parsers tend to stumble over.
const TRICKS: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r",
    b"\r\n",
    b"\\",
    b"\"",
    b"(",
    b")",
    b"<",
    b">",
    b"@",
    b":",
    b";",
    b",",
    b"=",
    b"$",
    b"{",
    b"}",
    b"[",
    b"]",
    b"%",
    b"+",
    b"-",
    b"/",
    b"!",
    b"\xff",
    b"\xc3",
    b"\xe2\x80",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x80\x80\x80\x80\x01",
    b"--",
    b"((((((((((((((((",
    b"99999999999999999999",
    b"-1",
    b"0",
    b" ",
    b"\t",
];

/// Bends `input` in one to eight places.
fn bend(input: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() + 1);
        let to = (at + random.below(24)).min(bytes.len());
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => drop(bytes.drain(at..to)),
            3 => {
                let piece = bytes[at..to].to_vec();
                let place = random.below(bytes.len() + 1);
                bytes.splice(place..place, piece);
            }
            4 => {
                let piece = bytes[at..to].repeat(1 + random.below(64));
                bytes.splice(at..at, piece);
            }
            5 => bytes.truncate(at),
            _ => {
                let trick = TRICKS[random.below(TRICKS.len())];
                bytes.splice(at..at, trick.iter().copied());
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// Gives `parse` bent inputs. It answers with how many bytes it made, which the input's length has to account for.
fn mutate(parser: &str, rounds: u32, inputs: &[&[u8]], mut parse: impl FnMut(&[u8]) -> usize) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed: u64 = number("MUTATION_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15);
    let rounds = number("MUTATION_ROUNDS").and_then(|rounds| u32::try_from(rounds).ok()).unwrap_or(rounds);
    let mut random = Random(seed.max(1));
    for round in 0..rounds {
        let input = bend(inputs[random.below(inputs.len())], &mut random);
        let start = Instant::now();
        let made = catch_unwind(AssertUnwindSafe(|| parse(&input)));
        let shown =
            || format!("{parser}, MUTATION_SEED={seed}, round {round}: {:?}", bstr::BString::from(input.clone()));
        let Ok(made) = made else { panic!("panic in {}", shown()) };
        assert!(start.elapsed() < PATIENCE, "{:?} for {}", start.elapsed(), shown());
        assert!(made <= 64 * input.len() + 65_536, "{made} bytes of {}", shown());
    }
}

struct Words;

impl CommandLists for Words {
    fn is_noop(&self, word: &[u8]) -> bool {
        word == b"TICK"
    }

    fn is_forbidden(&self, word: &[u8]) -> bool {
        word == b"GET"
    }

    fn filter(&self, _command: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[test]
fn smtp_commands() {
    let inputs: &[&[u8]] = &[
        b"EHLO client.example\r\nMAIL FROM:<a@b.example> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=x+2By\r\n\
          RCPT TO:<\"a b\"@[IPv6:::1]> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\nQUIT\r\n",
        b"HELO x\r\nMAIL FROM:<@a,@b:c@d>\r\nRCPT TO:(x) <g:a@b;>\r\nRSET\r\nVRFY <a@b>\r\nETRN @x.example\r\nHELP\r\n",
        b"XCLIENT NAME=x ADDR=192.0.2.1\r\nXFORWARD NAME=+5B\r\nAUTH PLAIN =\r\nSTARTTLS\r\nBDAT 10 LAST\r\n",
    ];
    for mode in [BareNewline::Normalize, BareNewline::Reject] {
        mutate("the SMTP server", 1500, inputs, |bytes| {
            let settings = Rc::new(Settings::default());
            let mut session = Session::new(settings, "client[192.0.2.1]".into(), mode, smtp_proto::Keywords::NONE);
            session.greet(None);
            let mut made = 0;
            let mut content = Vec::new();
            for piece in bytes.chunks(37) {
                session.receive(piece);
                loop {
                    match session.step(&Words) {
                        Step::Read => break,
                        Step::Content => {
                            if !session.decode(b"", &mut content) {
                                break;
                            }
                            session.finish_content(true, b"250 2.0.0 Ok");
                        }
                        Step::Do(_) => session.accept(),
                        Step::Close(_) => return made,
                    }
                }
                made += session.take_output().iter().map(Vec::len).sum::<usize>();
            }
            made + content.len()
        });
    }
}

#[test]
fn smtp_replies() {
    let inputs: &[&[u8]] = &[
        b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-AUTH PLAIN LOGIN\r\n250 DSN\r\n",
        b"550-5.1.1 no\r\n550 5.1.1 such user\r\n",
        b"354 go on\r\n",
    ];
    mutate("the SMTP client", 4000, inputs, |bytes| {
        let mut reader = ReplyReader::new(2048);
        let mut made = 0;
        for piece in bytes.chunks(29) {
            reader.receive(piece);
            while let Ok(Some(reply)) = reader.next_reply() {
                let capabilities = Capabilities::parse(&reply, smtp_proto::Keywords::NONE);
                made += reply.one_line().len() + usize::from(format!("{capabilities:?}").is_empty());
                let _ = reply.status();
            }
        }
        made
    });
}

#[test]
fn address_headers_and_paths() {
    let inputs: &[&[u8]] = &[
        b"\"Public, Joe\" <joe@x.example> (Joe (the) man), G: a@b, c d@e;, <@a,@b:c@d>",
        b"a\\\"b@c, \"a\\\\b\"@[1.2.3.4], =?utf-8?Q?x?= <x@y>",
        b"<\"a b\"@x.example>",
    ];
    mutate("an address list", 4000, inputs, |bytes| {
        let list = address::header::AddressList::parse(bytes, 10_240);
        let mut output = Vec::new();
        list.put(&mut output, b'\n');
        for address in list.addresses() {
            output.extend_from_slice(&address::external(address));
        }
        output.len()
    });
    mutate("a path", 4000, inputs, |bytes| {
        let (path, rest) = address::parse::split_argument(bytes);
        let strict = address::parse::path(path, true).map_or(0, |path| path.address.len());
        strict + address::parse::path(path, false).map_or(0, |path| path.address.len()) + rest.len()
    });
}

#[test]
fn mime_messages() {
    let inputs: &[&[u8]] = &[
        b"From: a@b\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"B c\"\n\n--B c\nContent-Type: text/plain;\n \
          charset=utf-8\nContent-Transfer-Encoding: 8bit\n\ncaf\xc3\xa9\n--B c\nContent-Type: message/rfc822\n\nSubject: x\n\ny\n--B c--\n",
        b"Subject: =?utf-8?B?eA==?=\nContent-Type: multipart/a; boundary=x\n\n--x\nContent-Type: multipart/b; boundary=y\n\n--y\n\nz\n--y--\n--x--\n",
        b"not a header\n\nbody\n",
    ];
    mutate("the MIME scanner", 2500, inputs, |bytes| {
        let mut made = 0;
        for structure in [true, false] {
            let mut parser = message::Parser::new(message::Limits::default(), structure);
            for line in bytes.split(|byte| *byte == b'\n') {
                for (index, piece) in line.chunks(300).enumerate() {
                    let step = parser.step(piece, (index + 1) * 300 >= line.len());
                    made +=
                        step.header.map_or(0, |header| header.text.len()) + step.line.map_or(0, |line| line.text.len());
                }
            }
            made += parser.finish().header.map_or(0, |header| header.text.len());
        }
        made
    });
    mutate("the 8-bit conversion", 2500, inputs, |bytes| {
        let mut converter = message::downgrade::Converter::new(message::Limits::default());
        let mut output = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            converter.push(line, true, &mut output);
        }
        converter.finish(&mut output);
        output.len()
    });
}

#[test]
fn queue_files() {
    use queue::record::{RecordType, put};
    let mut file = Vec::new();
    put(
        &mut file,
        RecordType::Size,
        format!("{:>15} {:>15} {:>15} {:>15} {:>15} {:>15}", 30, 300, 1, 0, 30, 0).as_bytes(),
    );
    put(&mut file, RecordType::Time, b"1700000000 5");
    put(&mut file, RecordType::Attribute, b"log_ident=4A");
    put(&mut file, RecordType::Sender, b"a@b.example");
    put(&mut file, RecordType::Original, b"c@d.example");
    put(&mut file, RecordType::Recipient, b"c@d.example");
    put(&mut file, RecordType::Message, b"");
    put(&mut file, RecordType::Text, &b"Subject: x".repeat(20));
    put(&mut file, RecordType::Extracted, b"");
    put(&mut file, RecordType::End, b"");
    mutate("queue records", 4000, &[&file], |bytes| {
        let mut reader = queue::record::Reader::with_buffer(bytes, 0, vec![0; 64]);
        let mut made = 0;
        // Pointers may lead in a circle; readers of messages count what they follow, this one counts records.
        for _ in 0..10_000 {
            match reader.read_any() {
                Ok(Some(_)) => made += 1,
                Ok(None) | Err(_) => break,
            }
        }
        made
    });
    mutate("queue files", 4000, &[&file], |bytes| {
        let Ok(mut reader) = queue::message::Reader::open(bytes.to_vec()) else { return 0 };
        let mut made = 0;
        let mut next = Some(reader.first_recipient());
        while let Some(position) = next {
            let Ok(batch) = reader.recipients(position, 100) else { break };
            made += batch.recipients.len();
            next = batch.next;
        }
        let mut content = reader.into_content();
        while let Ok(Some(line)) = content.next_line() {
            made += line.bytes.len();
        }
        made
    });
    mutate("queue ids", 4000, &[b"4A1B2C3D4E", b"3xyzBCDFGHz12345"], |bytes| {
        usize::from(String::from_utf8_lossy(bytes).parse::<queue::QueueId>().is_ok())
    });
}

#[test]
fn frames_between_daemons() {
    use ipc::cleanup::{Recipient, ToCleanup};
    let mut wire = Vec::new();
    ipc::frame::put_message(&mut wire, &ToCleanup::Begin(Box::default())).expect("a frame");
    let recipient = Recipient { address: "a@b.example".into(), ..Recipient::default() };
    ipc::frame::put_message(&mut wire, &ToCleanup::Recipient(recipient)).expect("a frame");
    ipc::frame::put_raw(&mut wire, ipc::Kind::Data, b"Subject: x\n");
    ipc::frame::put_message(&mut wire, &ToCleanup::End).expect("a frame");
    mutate("a frame", 2000, &[&wire], |bytes| {
        let (mut client, server) = UnixStream::pair().expect("a pair");
        client.write_all(bytes).expect("the socket takes a small input");
        client.shutdown(std::net::Shutdown::Write).expect("shutdown");
        let mut connection = ipc::blocking::Connection::new(server);
        let mut made = 0;
        while let Ok(Some(frame)) = connection.receive_frame() {
            made += frame.payload.len();
            if frame.kind == ipc::Kind::Message {
                let _ = frame.message::<ToCleanup>();
                let _ = frame.message::<ipc::bounce::Request>();
                let _ = frame.message::<ipc::rewrite::Request>();
                let _ = frame.message::<ipc::delivery::Request>();
                let _ = frame.message::<ipc::resolver::Answer>();
                let _ = frame.message::<ipc::master::ToWorker>();
            }
        }
        drop(connection);
        let _ = client.read(&mut [0]);
        made
    });
}

#[test]
fn configuration_files() {
    let main: &[&[u8]] = &[
        b"# comment\nmyhostname = mx.example\nmydomain = ${myhostname?{example}:{x}}\nmynetworks = 127.0.0.0/8,\n  [::1]/128\n\
          smtpd_banner = $myhostname ${{$compatibility_level} >= {3.6} ? {a} : {b}}\nmaximal_queue_lifetime = 5d\n",
        b"a = $b\nb = $a\nvirtual_alias_maps = inline:{ {x = y}, z = w }\n",
    ];
    mutate("main.cf", 1500, main, |bytes| {
        let Ok(config) = Config::from_text(&String::from_utf8_lossy(bytes)) else { return 0 };
        let mut made = 0;
        for name in config.names().into_iter().chain(["myhostname", "smtpd_banner", "mynetworks"]) {
            made += config.string(name).map_or(0, |value| value.len());
            let _ = (config.time(name), config.list(name), config.int(name), config.bool(name));
        }
        // Values may name each other: what comes of it is bounded by the expansion, not by the file.
        made.min(65_536)
    });
    let master: &[&[u8]] = &[
        b"smtp inet n - y - - smtpd\n  -o smtpd_tls_security_level=encrypt -o { mynetworks = 1.2.3.4 }\n\
          pickup unix n - y 60? 1 pickup\n127.0.0.1:10025 inet n - n - 10 smtpd -v\n",
        b"maildrop unix - n n - - pipe flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient}\n",
    ];
    mutate("master.cf", 3000, master, |bytes| {
        MasterCf::parse(&String::from_utf8_lossy(bytes)).map_or(0, |master| master.services.len())
    });
}

#[test]
fn pattern_tables() {
    let tables: [(&str, &[&[u8]]); 4] = [
        (
            "regexp",
            &[
                b"/^(.*)@x\\.(com|org)$/i OK ${1} $2\nif /a/\n!/[b-d]{1,3}/ REJECT no\nendif\n",
                b"/a|b/ x\n  continued\n",
            ],
        ),
        ("pcre", &[b"/^(?i)(\\w+)@(x|y)$/xs FOO $1 ${2}\nif !/z/\n/\\bq+?/ BAR\nendif\n", b"~a~ b\n"]),
        ("cidr", &[b"192.0.2.0/24 OK\n!2001:db8::/32 REJECT\nif 10.0.0.0/8\n10.1.0.0/16 x\nendif\n", b"[::1] y\n"]),
        ("texthash", &[b"a@b c\n x@y z\n", b"# c\n\"a b\"@c d\n"]),
    ];
    let config = Config::from_text("smtputf8_enable = yes\n").expect("configuration");
    let settings = tables::Settings::load(&config).expect("settings");
    let directory = tempfile::tempdir().expect("directory");
    for (kind, inputs) in tables {
        let mut round = 0;
        mutate(kind, 500, inputs, |bytes| {
            // A name of its own each time: tables are shared while their file is the same.
            round += 1;
            let path = directory.path().join(format!("{kind}{round}"));
            std::fs::write(&path, bytes).expect("write");
            let opened = tables::open::open(&format!("{kind}:{}", path.display()), &settings, tables::Flags::DEFAULT);
            let keys: [&[u8]; 5] =
                [b"joe@x.com", b"192.0.2.7", b"2001:db8::1", b"aaaaaaaaaaaaaaaaaaaaaaaab", b"\xff\0"];
            let made = opened.map_or(0, |table| {
                keys.iter().map(|key| table.lookup(key).ok().flatten().map_or(0, |value| value.len())).sum()
            });
            std::fs::remove_file(&path).expect("remove");
            made
        });
    }
}
