//! The dialogues of `tests/dialogues`, whose replies were recorded from Postfix, against our session in this process.
//!
//! A dialogue is a name (`=== name`), parameters (`main.cf: name = value`), maybe another client address (`from: ...`), and
//! lines: `> text` is sent with CRLF, `>| text` as it is (`\r` `\n` `\t` `\\` `\xNN`, `@{c*n}` repeats), `< text` is a line
//! of the reply, `close` means that the server closes. Replies that differ from the reference's on purpose are in
//! `docs/differences.toml`.

#[expect(dead_code, reason = "sessions.rs looks at the messages")]
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Default, Debug, Clone)]
struct Dialogue {
    name: String,
    parameters: Vec<(String, String)>,
    from: Option<String>,
    steps: Vec<Step>,
}

/// Sent bytes and the reply lines that follow; the first step sends nothing and waits for the greeting.
#[derive(Default, Debug, Clone)]
struct Step {
    text: String,
    bytes: Vec<u8>,
    replies: Vec<String>,
    close: bool,
}

#[derive(Deserialize)]
struct Differences {
    #[serde(default)]
    dialogue: Vec<Difference>,
}

/// A reply that is not the reference's.
#[derive(Deserialize)]
struct Difference {
    /// `file/dialogue`, as in `grammar/help`.
    name: String,
    /// The line that is sent; the last such in the dialogue.
    command: String,
    /// What we reply; empty when we say nothing.
    replies: Vec<String>,
    /// What follows in the dialogue depends on the difference, and is left out.
    #[serde(default)]
    last: bool,
    reason: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/dialogues")
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(tail) = rest.strip_prefix("@{")
            && let Some((inner, after)) = tail.split_once('}')
            && let Some((byte, count)) = inner.split_once('*')
        {
            out.extend(byte.repeat(count.parse().expect("a count")).bytes());
            rest = after;
            continue;
        }
        let escaped = rest.strip_prefix('\\').and_then(|tail| tail.chars().next().map(|c| (c, &tail[1..])));
        match escaped {
            Some(('n', tail)) => (out.push(b'\n'), rest = tail).1,
            Some(('r', tail)) => (out.push(b'\r'), rest = tail).1,
            Some(('t', tail)) => (out.push(b'\t'), rest = tail).1,
            Some(('\\', tail)) => (out.push(b'\\'), rest = tail).1,
            Some(('x', tail)) => {
                out.push(u8::from_str_radix(&tail[..2], 16).expect("two digits"));
                rest = &tail[2..];
            }
            _ => {
                out.extend(c.to_string().bytes());
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

fn parse(text: &str) -> Vec<Dialogue> {
    let mut all: Vec<Dialogue> = Vec::new();
    for line in text.split('\n') {
        if let Some(name) = line.strip_prefix("=== ") {
            all.push(Dialogue { name: name.to_owned(), steps: vec![Step::default()], ..Dialogue::default() });
            continue;
        }
        let Some(dialogue) = all.last_mut() else { continue };
        let send = |bytes: Vec<u8>| Step { text: line.to_owned(), bytes, ..Step::default() };
        if let Some(parameter) = line.strip_prefix("main.cf: ") {
            let (name, value) = parameter.split_once('=').expect("name = value");
            dialogue.parameters.push((name.trim().to_owned(), value.trim().to_owned()));
        } else if let Some(from) = line.strip_prefix("from: ") {
            dialogue.from = Some(from.to_owned());
        } else if let Some(text) = line.strip_prefix(">| ") {
            dialogue.steps.push(send(unescape(text)));
        } else if let Some(text) = line.strip_prefix("> ") {
            let mut bytes = unescape(text);
            bytes.extend(b"\r\n");
            dialogue.steps.push(send(bytes));
        } else if let Some(reply) = line.strip_prefix("< ") {
            dialogue.steps.last_mut().expect("a step").replies.push(reply.to_owned());
        } else if line == "close" {
            dialogue.steps.last_mut().expect("a step").close = true;
        }
    }
    all
}

/// Reads whole replies until there are `wanted` lines, or the end.
async fn replies(stream: &mut TcpStream, waiting: &mut Vec<u8>, wanted: usize, close: bool) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    loop {
        while let Some(end) = waiting.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = waiting.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        let complete = lines.last().is_none_or(|line: &String| line.as_bytes().get(3) != Some(&b'-'));
        if lines.len() >= wanted && complete && !close {
            return (lines, false);
        }
        let mut buffer = [0; 4096];
        match tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return (lines, true),
            Ok(Ok(count)) => waiting.extend_from_slice(&buffer[..count]),
            Err(_) => {
                lines.push("(nothing more)".to_owned());
                return (lines, false);
            }
        }
    }
}

fn normalized(line: &str) -> String {
    match line.split_once("queued as ") {
        Some((before, _)) => format!("{before}queued as QUEUEID"),
        None => line.to_owned(),
    }
}

async fn hold(dialogue: &Dialogue, world: &world::World) -> Result<(), String> {
    let mut stream = world.connect(&dialogue.parameters, dialogue.from.as_deref()).await?;
    let mut waiting = Vec::new();
    for step in &dialogue.steps {
        if stream.write_all(&step.bytes).await.is_err() {
            return Err(format!("at {:?}: cannot write", step.text));
        }
        let (lines, closed) = replies(&mut stream, &mut waiting, step.replies.len(), step.close).await;
        let lines: Vec<String> = lines.iter().map(|line| normalized(line)).collect();
        if lines != step.replies || closed != step.close {
            return Err(format!(
                "after {:?}\n  expected {:?}{}\n  got      {:?}{}",
                step.text,
                step.replies,
                if step.close { " and close" } else { "" },
                lines,
                if closed { " and close" } else { "" },
            ));
        }
        if closed {
            break;
        }
    }
    Ok(())
}

#[test]
fn replies_are_those_of_the_reference() {
    let text = std::fs::read_to_string(root().join("../../docs/differences.toml")).expect("differences.toml");
    let differences: Differences = toml::from_str(&text).expect("differences.toml");
    let mut allowed: BTreeMap<&str, Vec<&Difference>> = BTreeMap::new();
    for difference in &differences.dialogue {
        assert!(!difference.reason.is_empty());
        allowed.entry(&difference.name).or_default().push(difference);
    }
    let mut failures = Vec::new();
    let mut count = 0;
    server::testing::run(async {
        let world = world::World::start(&root()).await;
        for file in ["grammar", "delivery", "newlines", "limits", "restrictions"] {
            let text = std::fs::read_to_string(root().join(format!("{file}.txt"))).expect("dialogues");
            for mut dialogue in parse(&text) {
                let name = format!("{file}/{}", dialogue.name);
                for difference in allowed.remove(name.as_str()).unwrap_or_default() {
                    let at = dialogue.steps.iter().rposition(|step| step.text == difference.command);
                    let Some(at) = at else { panic!("{name}: no {}", difference.command) };
                    dialogue.steps[at].replies.clone_from(&difference.replies);
                    dialogue.steps[at].close = false;
                    if difference.last {
                        dialogue.steps.truncate(at + 1);
                    }
                }
                count += 1;
                if let Err(problem) = hold(&dialogue, &world).await {
                    failures.push(format!("{name} {problem}"));
                }
            }
        }
    });
    assert!(failures.is_empty(), "{} of {count} dialogues:\n{}", failures.len(), failures.join("\n"));
    assert!(allowed.is_empty(), "differences without a dialogue: {:?}", allowed.keys());
    assert!(count >= 100);
}
