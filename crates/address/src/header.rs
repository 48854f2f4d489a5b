//! The address lists of message headers (RFC 5322 3.4), tolerant of what real mail contains.
//!
//! A header value becomes a list of [`Token`]s in which every addr-spec is one [`Token::Address`] in internal form, and
//! phrases, comments, groups and separators are kept as they came. So addresses can be changed in place and everything
//! else written back as it was.

use bstr::{BStr, BString, ByteSlice};

use crate::lexical::{comment_length, enclosed_length};
use crate::quote::{is_atom_byte, put_external};

/// Addresses, and everything between them, of one header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList {
    tokens: Vec<Token>,
    truncated: bool,
    requoted: bool,
}

/// A piece of an address list, and whether white space stood before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word, quoted-string or comment outside of any address, as it was written (folding undone).
    Text {
        /// With quotes or parentheses.
        text: BString,
        /// White space stood before it.
        spaced: bool,
    },
    /// One of `<` `>` `,` `;` `:` outside of any address.
    Special {
        /// The character.
        byte: u8,
        /// White space stood before it.
        spaced: bool,
    },
    /// An address in internal form, without its angle brackets; a source route is still part of it.
    Address {
        /// Internal form.
        address: BString,
        /// White space stood before it.
        spaced: bool,
    },
}

/// A lexical element of RFC 5322.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lexeme<'a> {
    kind: Kind,
    raw: &'a [u8],
    spaced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Atom,
    Quoted,
    Literal,
    Comment,
    Special(u8),
}

impl AddressList {
    /// Reads the value of a header (without its name), or any other list of addresses in external form.
    ///
    /// `token_limit` bounds the lexical elements that are looked at (`header_address_token_limit`); what follows is
    /// dropped, and [`AddressList::is_truncated`] says so.
    #[must_use]
    pub fn parse(value: &[u8], token_limit: usize) -> AddressList {
        let mut lexemes = Vec::new();
        let mut truncated = false;
        for lexeme in (Scanner { rest: value }) {
            if lexemes.len() == token_limit {
                truncated = true;
                break;
            }
            lexemes.push(lexeme);
        }
        let mut tokens = Tokens { list: Vec::with_capacity(lexemes.len().min(64)), requoted: false };
        let mut rest = lexemes.as_slice();
        while !rest.is_empty() {
            rest = element(rest, &mut tokens);
        }
        AddressList { requoted: tokens.requoted, tokens: tokens.list, truncated }
    }

    /// An address was written with other quotes than its external form has (`"joe"@x`, `a..b@x`).
    #[must_use]
    pub fn is_requoted(&self) -> bool {
        self.requoted
    }

    /// More elements than allowed were there.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Everything, in order.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The addresses, in internal form.
    pub fn addresses(&self) -> impl Iterator<Item = &BStr> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Address { address, .. } => Some(address.as_bstr()),
            _ => None,
        })
    }

    /// The addresses, to be changed.
    pub fn addresses_mut(&mut self) -> impl Iterator<Item = &mut BString> {
        self.tokens.iter_mut().filter_map(|token| match token {
            Token::Address { address, .. } => Some(address),
            _ => None,
        })
    }

    /// The addresses alone, in internal form.
    pub fn into_addresses(self) -> impl Iterator<Item = BString> {
        self.tokens.into_iter().filter_map(|token| match token {
            Token::Address { address, .. } => Some(address),
            _ => None,
        })
    }

    /// Appends the list in external form. After each comma stands `after_comma`: a space for one long line, a line feed
    /// where the list is folded afterwards.
    pub fn put(&self, output: &mut Vec<u8>, after_comma: u8) {
        let start = output.len();
        let mut after_separator = true;
        for token in &self.tokens {
            let spaced = match token {
                Token::Special { byte: b',' | b';' | b':', .. } => false,
                Token::Text { spaced, .. } | Token::Special { spaced, .. } | Token::Address { spaced, .. } => *spaced,
            };
            if spaced && !after_separator && output.len() > start {
                output.push(b' ');
            }
            after_separator = false;
            match token {
                Token::Text { text, .. } => output.extend_from_slice(text),
                Token::Special { byte: b',', .. } => {
                    output.extend_from_slice(&[b',', after_comma]);
                    after_separator = true;
                }
                Token::Special { byte, .. } => output.push(*byte),
                Token::Address { address, .. } => put_external(output, address),
            }
        }
        while output.len() > start && matches!(output.last(), Some(b' ' | b'\n')) {
            output.pop();
        }
    }
}

/// The tokens so far.
struct Tokens {
    list: Vec<Token>,
    requoted: bool,
}

/// An address being put together.
#[derive(Default)]
struct Pending {
    internal: BString,
    /// As written, without white space and comments.
    written: Vec<u8>,
    spaced: bool,
}

/// Turns the first element of the list (an address, a group's beginning or end, a separator) into tokens.
fn element<'l, 'a>(lexemes: &'l [Lexeme<'a>], tokens: &mut Tokens) -> &'l [Lexeme<'a>] {
    let end = lexemes
        .iter()
        .position(|l| matches!(l.kind, Kind::Special(b',' | b';' | b':' | b'<')))
        .unwrap_or(lexemes.len());
    let (words, rest) = lexemes.split_at(end);
    // A source route needs no angle brackets to be one.
    let is_route = words.iter().find(|l| l.kind != Kind::Comment).is_some_and(|l| l.kind == Kind::Special(b'@'));
    if is_route && rest.first().is_some_and(|l| l.kind == Kind::Special(b':')) {
        let more = rest.iter().position(|l| matches!(l.kind, Kind::Special(b',' | b';' | b'<'))).unwrap_or(rest.len());
        bare_address(&lexemes[..end + more], tokens);
        let separator = &rest[more..rest.len().min(more + 1)];
        keep(separator, tokens);
        return &rest[more + separator.len()..];
    }
    match rest.first().map(|l| l.kind) {
        // A phrase, then an address in angle brackets; or a group's name.
        Some(Kind::Special(b'<')) => {
            keep(words, tokens);
            angle_address(rest, tokens)
        }
        Some(Kind::Special(b':')) => {
            keep(words, tokens);
            keep(&rest[..1], tokens);
            &rest[1..]
        }
        Some(_) => {
            bare_address(words, tokens);
            keep(&rest[..1], tokens);
            &rest[1..]
        }
        None => {
            bare_address(words, tokens);
            rest
        }
    }
}

/// `<`, whatever is in there, and `>`; a missing `>` is added.
fn angle_address<'l, 'a>(lexemes: &'l [Lexeme<'a>], tokens: &mut Tokens) -> &'l [Lexeme<'a>] {
    keep(&lexemes[..1], tokens);
    let inside = &lexemes[1..];
    let end = inside.iter().position(|l| matches!(l.kind, Kind::Special(b'>'))).unwrap_or(inside.len());
    let before = tokens.list.len();
    bare_address(&inside[..end], tokens);
    if let Some(Token::Address { spaced, .. } | Token::Text { spaced, .. }) = tokens.list.get_mut(before) {
        *spaced = false;
    }
    tokens.list.push(Token::Special { byte: b'>', spaced: false });
    let rest = inside.get(end + 1..).unwrap_or_default();
    // Comments up to the separator belong to this address; anything else lacks a comma.
    let comments = rest.iter().take_while(|l| l.kind == Kind::Comment).count();
    match rest.get(comments).map(|l| l.kind) {
        None | Some(Kind::Special(b',' | b';')) => {
            let end = rest.len().min(comments + 1);
            keep(&rest[..end], tokens);
            &rest[end..]
        }
        Some(_) => {
            tokens.list.push(Token::Special { byte: b',', spaced: false });
            rest
        }
    }
}

/// Words joined by dots and at signs are an address; a comma is added where another word follows without them.
/// Comments follow the address that they stood in.
fn bare_address(lexemes: &[Lexeme<'_>], tokens: &mut Tokens) {
    let mut address: Option<Pending> = None;
    let mut comments: Vec<&Lexeme<'_>> = Vec::new();
    let mut after_word = false;
    for lexeme in lexemes {
        if lexeme.kind == Kind::Comment {
            comments.push(lexeme);
            continue;
        }
        let word = matches!(lexeme.kind, Kind::Atom | Kind::Quoted | Kind::Literal);
        if word && after_word {
            finish_address(&mut address, &mut comments, tokens);
            tokens.list.push(Token::Special { byte: b',', spaced: false });
        }
        after_word = word;
        let pending = address.get_or_insert_with(|| Pending { spaced: lexeme.spaced, ..Pending::default() });
        pending.written.extend_from_slice(lexeme.raw);
        match lexeme.kind {
            Kind::Quoted => put_unquoted(&mut pending.internal, lexeme.raw),
            Kind::Atom if lexeme.raw.contains(&b'\\') => put_unquoted(&mut pending.internal, lexeme.raw),
            _ => pending.internal.extend_from_slice(lexeme.raw),
        }
    }
    finish_address(&mut address, &mut comments, tokens);
}

fn finish_address(address: &mut Option<Pending>, comments: &mut Vec<&Lexeme<'_>>, tokens: &mut Tokens) {
    if let Some(Pending { internal, written, spaced }) = address.take() {
        tokens.requoted |= crate::external(&internal) != written;
        tokens.list.push(Token::Address { address: internal, spaced });
    }
    tokens.list.extend(comments.drain(..).map(|comment| Token::Text { text: unfold(comment.raw), spaced: true }));
}

fn put_unquoted(output: &mut Vec<u8>, quoted: &[u8]) {
    let inner = quoted.strip_prefix(b"\"").unwrap_or(quoted);
    let mut bytes = inner.strip_suffix(b"\"").unwrap_or(inner).iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => output.extend(bytes.next()),
            b'\r' | b'\n' => output.push(b' '),
            other => output.push(other),
        }
    }
}

fn keep(lexemes: &[Lexeme<'_>], tokens: &mut Tokens) {
    keep_all(lexemes.iter(), tokens);
}

fn keep_all<'l, 'a: 'l>(lexemes: impl Iterator<Item = &'l Lexeme<'a>>, tokens: &mut Tokens) {
    for lexeme in lexemes {
        tokens.list.push(match lexeme.kind {
            Kind::Special(byte) if b"<>,;:".contains(&byte) => Token::Special { byte, spaced: lexeme.spaced },
            _ => Token::Text { text: unfold(lexeme.raw), spaced: lexeme.spaced },
        });
    }
}

/// Line ends inside a quoted-string or comment are folding (RFC 5322 3.2.2) and become blanks.
fn unfold(raw: &[u8]) -> BString {
    raw.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect::<Vec<u8>>().into()
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Lexeme<'a>;

    fn next(&mut self) -> Option<Lexeme<'a>> {
        let start = self.rest.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != 0)?;
        let text = &self.rest[start..];
        let (kind, length) = match text[0] {
            b'(' => (Kind::Comment, comment_length(text)),
            b'"' => (Kind::Quoted, enclosed_length(text, b'"')),
            b'[' => (Kind::Literal, enclosed_length(text, b']')),
            byte if is_atom_byte(byte) || byte > 127 || byte == b'\\' || byte.is_ascii_control() => {
                (Kind::Atom, atom_length(text))
            }
            byte => (Kind::Special(byte), 1),
        };
        self.rest = &text[length..];
        Some(Lexeme { kind, raw: &text[..length], spaced: start > 0 })
    }
}

fn atom_length(text: &[u8]) -> usize {
    let mut index = 0;
    while let Some(&byte) = text.get(index) {
        match byte {
            b'\\' => index += 2,
            _ if byte.is_ascii_whitespace() || byte == 0 => break,
            _ if is_atom_byte(byte) || byte > 127 || byte.is_ascii_control() => index += 1,
            _ => break,
        }
    }
    index.min(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(list: &AddressList) -> String {
        let mut output = Vec::new();
        list.put(&mut output, b' ');
        BString::from(output).to_string()
    }

    #[test]
    fn finds_addresses_and_keeps_the_rest() {
        let cases: [(&str, &[&str], &str); 23] = [
            ("user@example.com", &["user@example.com"], "user@example.com"),
            (" a@x ,b@y", &["a@x", "b@y"], "a@x, b@y"),
            ("Joe Q. Public <joe@x>", &["joe@x"], "Joe Q. Public <joe@x>"),
            ("\"Public, Joe\" <joe@x> (Joe)", &["joe@x"], "\"Public, Joe\" <joe@x> (Joe)"),
            ("joe@x (Joe (the) man)", &["joe@x"], "joe@x (Joe (the) man)"),
            ("joe(c)@x", &["joe@x"], "joe@x (c)"),
            ("(c) joe@x", &["joe@x"], "joe@x (c)"),
            ("Team: a@x, B <b@y>; , c@z", &["a@x", "b@y", "c@z"], "Team: a@x, B <b@y>;, c@z"),
            ("undisclosed-recipients:;", &[], "undisclosed-recipients:;"),
            ("<@a,@b:joe@x>", &["@a,@b:joe@x"], "<\"@a,@b:joe\"@x>"),
            ("\"a b\"@x", &["a b@x"], "\"a b\"@x"),
            ("@a:b@c, d\\e@f", &["@a:b@c", "de@f"], "\"@a:b\"@c, de@f"),
            ("a b@x", &["a", "b@x"], "a, b@x"),
            ("<>", &[], "<>"),
            ("", &[], ""),
            (",,", &[], ", ,"),
            ("joe@[1.2.3.4]", &["joe@[1.2.3.4]"], "joe@[1.2.3.4]"),
            ("Joe <joe@x", &["joe@x"], "Joe <joe@x>"),
            ("joe . doe @ x . y", &["joe.doe@x.y"], "joe.doe@x.y"),
            ("a@x\n\t,\n b@y", &["a@x", "b@y"], "a@x, b@y"),
            ("\"a\n b\" <c@d>", &["c@d"], "\"a  b\" <c@d>"),
            ("J <j> (x) y", &["j", "y"], "J <j>, y (x)"),
            ("(a) b(c)@d (e) f", &["b@d", "f"], "b@d (a) (c) (e), f"),
        ];
        for (value, addresses, output) in cases {
            let list = AddressList::parse(value.as_bytes(), 1000);
            assert_eq!(list.addresses().collect::<Vec<_>>(), addresses, "{value}");
            assert_eq!(put(&list), output, "{value}");
        }
    }

    #[test]
    fn changes_addresses_in_place() {
        let mut list = AddressList::parse(b"Joe <joe@x>, (me) jim, G: ann;", 1000);
        for address in list.addresses_mut().filter(|address| !address.contains(&b'@')) {
            address.extend_from_slice(b"@here");
        }
        assert_eq!(put(&list), "Joe <joe@x>, jim@here (me), G: ann@here;");
    }

    #[test]
    fn tells_odd_quoting() {
        for (value, odd) in
            [("a@b, \"a b\"@c (x), J <j@k>", false), ("\"a\"@b", true), ("a..b@c", true), ("a . b@c", false)]
        {
            assert_eq!(AddressList::parse(value.as_bytes(), 100).is_requoted(), odd, "{value}");
        }
    }

    #[test]
    fn stops_at_the_limit() {
        let list = AddressList::parse(b"a, b, c, d", 4);
        assert!(list.is_truncated());
        assert_eq!(list.addresses().collect::<Vec<_>>(), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_and_output_is_stable(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let once = put(&AddressList::parse(&value, 1000));
            let _ = once.len();
        }

        #[test]
        fn clean_lists_round_trip(names in proptest::collection::vec("[a-z]{1,8}", 1..6)) {
            let value = names.iter().map(|name| format!("{name} (x) <{name}@example.com> (y)")).collect::<Vec<_>>().join(", ");
            let list = AddressList::parse(value.as_bytes(), 1000);
            prop_assert_eq!(put(&list), value);
            prop_assert_eq!(list.addresses().count(), names.len());
        }
    }
}
