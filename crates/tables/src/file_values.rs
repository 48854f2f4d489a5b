//! Values that are lists of files (`postmap -F`, `tls_server_sni_maps`): the contents are stored, base64 encoded.

use std::fs;
use std::path::Path;

use bstr::{BString, ByteSlice};

use crate::base64;

/// Reads the files of a comma and white space separated list; a newline goes between two files.
///
/// # Errors
/// The text of the error: an empty list, or a file that cannot be read.
pub fn encode(list: &[u8]) -> Result<BString, String> {
    let list = list.to_str().map_err(|_| "file names must be UTF-8".to_owned())?;
    let mut contents = Vec::new();
    let mut names = 0;
    for name in crate::list::split(list) {
        if names > 0 {
            contents.push(b'\n');
        }
        contents.extend(fs::read(Path::new(name)).map_err(|error| format!("open {name}: {error}"))?);
        names += 1;
    }
    if names == 0 {
        return Err("empty pathname list".to_owned());
    }
    Ok(base64::encode(&contents))
}
