//! The bodies of recorded uploads, which stand in the file only as a description.

use serde_json::Value;

use crate::common::multipart;

const BOUNDARY: &str = "----fediprobe";

/// The body of an upload; `image` is the file it has if the record names no other.
pub(crate) fn body(id: &str, described: &str, image: &[u8]) -> Vec<u8> {
    let description: Value = serde_json::from_str(described).unwrap_or_default();
    if let Some(special) = special(id, image) {
        return special;
    }
    let fields: Vec<(String, String)> = description["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned()))
        .collect();
    let file = &description["file"];
    let content: Vec<u8> = match &file["data"] {
        Value::String(text) => {
            let length = text.trim_start_matches('<').split(' ').next().unwrap().parse().unwrap();
            vec![b'x'; length]
        }
        _ => image.to_vec(),
    };
    let name = file["fname"].as_str().unwrap_or("fedi.qcow2");
    let field = file["filefield"].as_str().unwrap_or("filename");
    let file = (file.get("data") != Some(&Value::Null)).then_some((field, name, content.as_slice()));
    multipart(BOUNDARY, &fields, file)
}

/// Bodies whose point is their bytes.
fn special(id: &str, image: &[u8]) -> Option<Vec<u8>> {
    let content = "Content-Disposition: form-data; name=\"content\"\r\n\r\nimport\r\n";
    let disposition = "Content-Disposition: form-data; name=\"filename\"; filename=\"fedi-n.qcow2\"\r\n";
    let kind = "Content-Type: application/octet-stream\r\n";
    let parts = match id {
        "up-json" => return Some(br#"{"content":"import"}"#.to_vec()),
        "up-extra-header-first" => [content.to_owned(), format!("{kind}{disposition}")],
        "up-unquoted-names" => {
            let plain = |text: &str| text.replace('"', "");
            [plain(content), plain(&format!("{disposition}{kind}"))]
        }
        "up-lowercase-headers" => {
            let lower = |text: &str| text.replace("Content-", "content-").replace("Disposition", "disposition");
            [lower(content), lower(&format!("{disposition}{kind}"))]
        }
        "up-content-with-ct" => {
            [content.replacen("\r\n\r\n", "\r\nContent-Type: text/plain\r\n\r\n", 1), format!("{disposition}{kind}")]
        }
        _ => return None,
    };
    let [content, head] = parts;
    let mut body = format!("--{BOUNDARY}\r\n{content}--{BOUNDARY}\r\n{head}\r\n").into_bytes();
    body.extend_from_slice(image);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").into_bytes());
    Some(body)
}
