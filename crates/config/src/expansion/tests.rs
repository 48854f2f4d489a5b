use super::*;

struct Table(&'static [(&'static str, &'static str)]);

impl Names for Table {
    fn value(&mut self, name: &str) -> Result<Option<Vec<u8>>, ExpansionError> {
        Ok(self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes().to_vec()))
    }
    fn nested(&self) -> bool {
        true
    }
}

const VALUES: Table = Table(&[
    ("mail_name", "Postfix"),
    ("nested", "<$mail_name>"),
    ("empty", ""),
    ("refers_to_empty", "$empty"),
    ("one", "$other"),
    ("other", "${one}"),
]);

fn result(text: &str) -> String {
    match expand(text.as_bytes(), &mut Table(VALUES.0)) {
        Ok(bytes) => String::from_utf8(bytes).unwrap(),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn as_the_reference_does() {
    let cases = [
        ("$(mail_name) ${mail_name?yes}${nope:no}${mail_name:x}|${nope?y}|", "Postfix yesno||"),
        ("${mail_name?{yes}:{no}} ${nope?{yes}:{no}} ${mail_name ? {yes} : {no}}", "yes no yes"),
        ("${nope:{x}} ${nope : {x y} }|", "x x y|"),
        ("${mail_name?{yes}:no} ${nope?{yes}:no}", "yes no"),
        ("${{a} == {b} ? {x} : {y}} ${{a}=={a}?x:y}", "y x:y"),
        ("${{1}<{10}?{l}:{g}} ${{2}<{10}?{l}:{g}} ${{a2}<{a10}?{l}:{g}}", "l l g"),
        ("${{a}!={b}}| ${{a}=={b}}|", "true| |"),
        ("${{3.6} <level {3.10} ? {l}:{g}} ${{3.6} < {3.10} ? {l}:{g}}", "l g"),
        ("${{1} ==level {1.0} ?{t}:{f}}${{1} !=level {1.1} ?{t}:{f}}${{1.1} >=level {1.1.0} ?{t}:{f}}", "ttt"),
        ("${{12} < {a} ?{t}:{f}} ${{12 } == {12} ?{t}:{f}}${{+12} == {12} ?{t}:{f}}", "t ff"),
        ("$nope ${nope2}|", " |"),
        ("$$ $$x ${mail_name?{$$x}}", "$ $x $x"),
        ("[${mail_name?{  x  }}][${mail_name?  x  }][${mail_name ?x  }]", "[  x  ][  x  ][x  ]"),
        ("${mail_name?a{b}c} ${mail_name?a:b}", "a{b}c a:b"),
        ("${ mail_name }|${ mail_name ? {x}}|", "Postfix|x|"),
        ("$mail_name-x $(mail_name?{x}:{y}) $(mail_name?(a)b)", "Postfix-x x (a)b"),
        ("${{$mail_name} == {Postfix} ? {${mail_name}} : {n}} ${{}=={}?{e}} ${{ a } == {a}?{t}:{f}}", "Postfix e f"),
        ("${mail_name? {yes} : {no} }|${mail_name?{yes} }|${mail_name: {yes} }|", "yes|yes||"),
        ("${{a}=={a}: {f}}|${{a}!={a}: {f}}|${{a}=={a}? {f}}|", "|f|f|"),
        ("[${{$$} == {$$}}]", "[true]"),
        ("${mail_name?$nested}", "<Postfix>"),
        ("$nested ${empty?{x}:{y}} ${refers_to_empty?{x}:{y}}", "<Postfix> y x"),
        ("${domain_to_ascii{b\u{fc}cher.$nope}}|${domain_to_ascii{$mail_name}}", "xn--bcher-kva.|Postfix"),
        ("plain {text} (here) ?:", "plain {text} (here) ?:"),
    ];
    for (text, expected) in cases {
        assert_eq!(result(text), expected, "{text}");
    }
}

#[test]
fn mistakes() {
    let cases = [
        ("$. x", "empty macro name: \"$. x\""),
        ("x $", "empty macro name: \"x $\""),
        ("${} x", "empty macro name: \"${} x\""),
        ("${a-b} x", "attribute name syntax error at: \"...a>>>-b\""),
        ("b ${nope?{yes}x} e", "\":\" expected at: \"...nope?{yes}>>>x\""),
        ("b ${{a} == b ? {x} : {y}} e", "\"{expression}\" expected at: \"...{a} == >>>b ? {x} : {y}\""),
        ("b ${{a} == {b} x} e", "\"?\" or \":\" expected at: \"...{a} == {b} >>>x\""),
        ("${mail_name?{yes}:{no}x} e", "unexpected input at: \"...mail_name?{yes}:{no}>>>x\""),
        ("$(mail_name?{(}x) e", "truncated macro reference: \"$(mail_name?{(}x) e\""),
        ("[${mail_name?x:y]", "truncated macro reference: \"[${mail_name?x:y]\""),
        ("${{x} <=level {2}?{a}:{b}}", "malformed compatibility level syntax: \"x\""),
        ("${{99999999999999999999} > {5}}", "bad conversion: 99999999999999999999"),
        ("$one", "unreasonable macro call nesting: \"one\""),
    ];
    for (text, expected) in cases {
        assert_eq!(result(text), format!("error: {expected}"), "{text}");
    }
    assert!(result("b ${{a} ~ {b} ? {x} : {y}} e").starts_with("error: \"==\" or"));
    let deep = format!("{}x{}", "${mail_name?{".repeat(101), "}}".repeat(101));
    assert!(result(&deep).starts_with("error: unreasonable"));
    let fine = format!("{}x{}", "${mail_name?{".repeat(100), "}}".repeat(100));
    assert_eq!(result(&fine), "x");
}

proptest::proptest! {
    #[test]
    fn any_text_expands_or_is_an_error(text in "[${}()?:=<>a!{}$ -]{0,60}") {
        let _ = expand(text.as_bytes(), &mut Table(VALUES.0));
    }
}

#[test]
fn references_of_all_branches() {
    let found = references(b"$a ${b?{$c}:{$(d)}} ${{$e} == {f$g} ? {$h} : {$i}} $$j ${k:$l} ${domain_to_ascii{$m}} $a");
    let expected: Vec<String> = "abcdeghiklma".chars().map(String::from).collect();
    assert_eq!(found.unwrap(), expected);
    assert!(references(b"${a").is_err());
}
