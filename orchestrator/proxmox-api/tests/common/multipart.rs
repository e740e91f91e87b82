//! Reads an upload as strictly as Proxmox does.

use serde_json::{Map, Value};

const ORDER: [&str; 3] = ["content", "checksum-algorithm", "checksum"];

/// The fields, and the file's name as `filename`.
pub(crate) fn fields(content_type: &str, body: &[u8]) -> Result<Map<String, Value>, String> {
    parts(content_type, body).map(|(fields, _)| fields)
}

/// The fields and the file's bytes.
pub(crate) fn parts(content_type: &str, body: &[u8]) -> Result<(Map<String, Value>, Vec<u8>), String> {
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").ok_or("no boundary")?;
    if boundary.starts_with('"') {
        return Err("a quoted boundary".to_owned());
    }
    let delimiter = format!("--{boundary}");
    let mut rest = body.strip_prefix(delimiter.as_bytes()).ok_or("no first boundary")?;
    let delimiter = format!("\r\n--{boundary}");
    let mut fields = Map::new();
    let mut order = ORDER.iter();
    loop {
        rest = rest.strip_prefix(b"\r\n").ok_or("no line break after a boundary")?;
        let head_end = find(rest, b"\r\n\r\n").ok_or("a part without an end of its head")?;
        let head = std::str::from_utf8(&rest[..head_end]).map_err(|error| error.to_string())?;
        let end = find(&rest[head_end + 4..], delimiter.as_bytes()).ok_or("a part without an end")? + head_end + 4;
        let content = &rest[head_end + 4..end];
        let disposition = head.split("\r\n").next().unwrap_or_default();
        let named =
            disposition.strip_prefix("Content-Disposition: form-data; name=\"").ok_or("another first header")?;
        if let Some(name) = named.strip_prefix("filename\"; filename=\"") {
            let name = name.strip_suffix('"').ok_or("a file without a name")?;
            fields.insert("filename".to_owned(), Value::String(name.to_owned()));
            return match &rest[end + delimiter.len()..] {
                b"--\r\n" => Ok((fields, content.to_vec())),
                _ => Err("something after the file".to_owned()),
            };
        }
        let name = named.strip_suffix('"').ok_or("more than a name")?;
        if !order.any(|expected| *expected == name) {
            return Err(format!("`{name}` is out of order"));
        }
        let text = String::from_utf8_lossy(content).into_owned();
        fields.insert(name.to_owned(), Value::String(text));
        rest = &rest[end + delimiter.len()..];
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
