//! `-b` and `-t`: the texts of delivery status notices.

use config::bounce_templates::Templates;

use crate::Output;
use crate::error::Error;
use crate::options::Options;

pub(crate) fn show(options: &Options, expanded: bool, output: &mut Output) -> Result<(), Error> {
    let config = crate::load(options, output)?;
    let templates = match options.operands.as_slice() {
        [] => Templates::load(&config)?,
        [file] => Templates::from_file(&config, file)?,
        _ => return Err(Error::request("options -b and -t require at most one template file")),
    };
    for warning in &templates.warnings {
        output.warn(warning);
    }
    let mut sections = Vec::new();
    for template in templates.iter() {
        sections.push(if expanded {
            format!("expanded_{}_text = <<EOF\n{}EOF\n", template.kind.as_str(), template.expanded(&config)?)
        } else {
            template.section()
        });
    }
    output.text(&sections.join("\n"));
    Ok(())
}
