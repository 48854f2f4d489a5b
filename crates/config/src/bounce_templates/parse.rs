//! The syntax of template files. Mistakes cost one section, never the notice.

use super::{Kind, Template};

/// Reads `text` and replaces the templates that it defines.
pub(super) fn merge(templates: &mut [Template; 4], text: &str, file: &str, warnings: &mut Vec<String>) {
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{file}, line {}", at + 1);
        let Some((name, marker)) = line.split_once('=').map(|(name, value)| (name.trim(), value.trim())) else {
            warnings.push(format!("{place}: missing '=' after template name: \"{line}\""));
            continue;
        };
        let Some(marker) = marker.strip_prefix("<<").map(str::trim).filter(|marker| !marker.is_empty()) else {
            warnings.push(format!("{place}: missing '<<' and end marker after template name: \"{name}\""));
            continue;
        };
        let mut body = Vec::new();
        let mut ended = false;
        for (_, line) in lines.by_ref() {
            if line.trim_end() == marker {
                ended = true;
                break;
            }
            body.push(line);
        }
        if !ended {
            warnings.push(format!("{place}: missing \"{marker}\" end marker"));
        }
        let known = name
            .strip_suffix("_template")
            .and_then(|word| templates.iter_mut().find(|template| template.kind.as_str() == word));
        let Some(template) = known else {
            warnings.push(format!("{place}: unknown template name: {name} -- ignoring this template"));
            continue;
        };
        match section(template, &body) {
            Ok(read) => *template = read,
            Err(problem) => {
                let kind: Kind = template.kind;
                warnings.push(format!("{place}: {problem} in {} template -- ignoring this template", kind.as_str()));
            }
        }
    }
}

/// A template from the lines of a section; `fallback` is what its headers are when the section does not say.
fn section(fallback: &Template, body: &[&str]) -> Result<Template, String> {
    let mut template = fallback.clone();
    let mut at = 0;
    let mut has_headers = false;
    for line in body {
        if line.trim().is_empty() {
            break;
        }
        let header = line.split_once(':').filter(|(label, _)| !label.contains(char::is_whitespace));
        let Some((label, value)) = header else {
            if has_headers {
                return Err(format!("bad header \"{line}\""));
            }
            break;
        };
        let value = value.trim();
        if !value.is_ascii() || value.contains('\0') {
            return Err(format!("non-ASCII text in \"{label}\" header"));
        }
        let value = value.to_owned();
        match label.to_ascii_lowercase().as_str() {
            "charset" => template.charset = value,
            "from" => template.from = value,
            "subject" => template.subject = value,
            "postmaster-subject" if template.postmaster_subject.is_some() => template.postmaster_subject = Some(value),
            "postmaster-subject" => {}
            _ => return Err(format!("unknown \"{label}\" header label")),
        }
        has_headers = true;
        at += 1;
    }
    if at < body.len() && body[at].trim().is_empty() {
        at += 1;
    }
    template.text = body[at..].iter().map(|line| format!("{line}\n")).collect();
    if !template.text.is_ascii() && template.charset.eq_ignore_ascii_case("us-ascii") {
        return Err("8-bit text without a Charset header".to_owned());
    }
    Ok(template)
}
