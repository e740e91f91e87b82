//! The multipart body of an upload, taken apart exactly as strictly as pveproxy does it: its fields must come in
//! one order, the file last, and every header as pveproxy's patterns expect it.

use std::collections::BTreeMap;

/// Where the parser stands.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Begin,
    Fields,
    File,
    Done,
}

/// A body that pveproxy does not take; the text is what its `die` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// An incremental parser; feed it with [`Multipart::push`].
#[derive(Debug)]
pub(crate) struct Multipart {
    open: Vec<u8>,
    close: Vec<u8>,
    phase: Phase,
    buffer: Vec<u8>,
    /// Fields found, among them `filename`.
    pub(crate) params: BTreeMap<String, String>,
    field_line: u32,
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// Position and length of the delimiter with its line end.
fn find_delimiter(haystack: &[u8], open: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(at) = find(&haystack[from..], open).map(|at| at + from) {
        let after = at + open.len();
        match haystack.get(after..) {
            Some([b'\n', ..]) => return Some((at, open.len() + 1)),
            Some([b'\r', b'\n', ..]) => return Some((at, open.len() + 2)),
            _ => from = after,
        }
    }
    None
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

impl Multipart {
    /// `field_line` is the line of `AnyEvent.pm` that a wrong field name is reported from.
    pub(crate) fn new(boundary: &str, field_line: u32) -> Self {
        Self {
            open: format!("--{boundary}").into_bytes(),
            close: format!("--{boundary}--").into_bytes(),
            phase: Phase::Begin,
            buffer: Vec::new(),
            params: BTreeMap::new(),
            field_line,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Takes bytes and returns those that belong to the file.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        self.buffer.extend_from_slice(bytes);
        if self.phase == Phase::Begin
            && let Some((at, _)) = find_delimiter(&self.buffer, &self.open)
        {
            self.buffer.drain(..at);
            self.phase = Phase::Fields;
        }
        if self.phase == Phase::Fields {
            for name in ["content", "checksum-algorithm", "checksum"] {
                self.field(name)?;
            }
            self.file_header()?;
        }
        if self.phase == Phase::File {
            return Ok(self.content());
        }
        Ok(Vec::new())
    }

    fn field(&mut self, name: &str) -> Result<(), Malformed> {
        const DISPOSITION: &[u8] = b"Content-Disposition: ";
        let Some((0, skip)) = find_delimiter(&self.buffer, &self.open) else { return Ok(()) };
        let Some(start) = find(&self.buffer[skip..], DISPOSITION).map(|at| skip + at + DISPOSITION.len()) else {
            return Ok(());
        };
        let marker = format!("; name=\"{name}\"").into_bytes();
        let Some(end) = find(&self.buffer[start..], &marker).map(|at| start + at) else { return Ok(()) };
        let rest = end + marker.len();
        if find_delimiter(&self.buffer[rest..], &self.open).is_none() {
            return Ok(());
        }
        assert_form_data(&self.buffer[start..end])?;
        self.buffer.drain(..rest);
        self.skip_headers();
        if let Some((at, _)) = find_delimiter(&self.buffer, &self.open) {
            let value = String::from_utf8_lossy(&self.buffer[..at]).trim().to_owned();
            self.buffer.drain(..at);
            self.params.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// Removes the remaining header lines of a part.
    fn skip_headers(&mut self) {
        let unix = find(&self.buffer, b"\n\n").map(|at| at + 2);
        let dos = find(&self.buffer, b"\n\r\n").map(|at| at + 3);
        if let Some(end) = [unix, dos].into_iter().flatten().min() {
            self.buffer.drain(..end);
        }
    }

    fn file_header(&mut self) -> Result<(), Malformed> {
        const DISPOSITION: &[u8] = b"Content-Disposition: ";
        const NAME: &[u8] = b"; name=\"";
        const FILENAME: &[u8] = b"\"; filename=\"";
        let Some((0, skip)) = find_delimiter(&self.buffer, &self.open) else { return Ok(()) };
        let Some(after) = self.buffer[skip..].strip_prefix(DISPOSITION) else { return Ok(()) };
        let Some(name_at) = find(after, NAME) else { return Ok(()) };
        let rest = &after[name_at + NAME.len()..];
        let Some(filename_at) = find(rest, FILENAME) else { return Ok(()) };
        let value = &rest[filename_at + FILENAME.len()..];
        let Some(length) = value.iter().position(|byte| *byte == b'"').filter(|length| *length > 0) else {
            return Ok(());
        };
        // The header lines after this one may still be on their way.
        let ended = [&b"\n\n"[..], b"\n\r\n"].iter().any(|end| find(value, end).is_some());
        if !ended {
            return Ok(());
        }
        assert_form_data(&after[..name_at])?;
        let name = latin1(&rest[..filename_at]);
        if name != "filename" {
            return Err(Malformed(format!(
                "wrong field name '{name}' for file upload, expected 'filename' at \
                 /usr/share/perl5/PVE/APIServer/AnyEvent.pm line {}.\n",
                self.field_line
            )));
        }
        let filename = String::from_utf8_lossy(&value[..length]).trim().to_owned();
        let consumed = self.buffer.len() - value.len() + length + 1;
        self.buffer.drain(..consumed);
        self.params.insert("filename".to_owned(), filename);
        self.skip_headers();
        self.phase = Phase::File;
        Ok(())
    }

    fn content(&mut self) -> Vec<u8> {
        if let Some(end) = find(&self.buffer, &self.close) {
            let mut data: Vec<u8> = self.buffer.drain(..end).collect();
            if data.last() == Some(&b'\n') {
                data.pop();
                if data.last() == Some(&b'\r') {
                    data.pop();
                }
            }
            self.buffer.clear();
            self.phase = Phase::Done;
            return data;
        }
        let keep = self.close.len() + 6;
        let ready = self.buffer.len().saturating_sub(keep);
        self.buffer.drain(..ready).collect()
    }
}

fn assert_form_data(disposition: &[u8]) -> Result<(), Malformed> {
    if disposition == b"form-data" {
        return Ok(());
    }
    Err(Malformed(format!("wrong Content-Disposition '{}' in multipart, expected 'form-data'\n", latin1(disposition))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(header: &str, value: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; {header}\r\n\r\n{value}\r\n")
    }

    fn parse(body: &str, step: usize) -> Result<(Multipart, Vec<u8>), Malformed> {
        let mut multipart = Multipart::new("b", 1325);
        let mut file = Vec::new();
        for chunk in body.as_bytes().chunks(step) {
            file.extend(multipart.push(chunk)?);
        }
        Ok((multipart, file))
    }

    #[test]
    fn fields_in_order_and_a_file_are_taken() {
        let body = part("name=\"content\"", "import")
            + &part("name=\"checksum-algorithm\"", "sha256")
            + &part("name=\"checksum\"", "00ff")
            + &part("name=\"filename\"; filename=\"x.qcow2\"", "QFI\r\n--bytes")
            + "--b--\r\n";
        for step in [1, 7, 1000] {
            let (multipart, file) = parse(&body, step).unwrap();
            assert!(multipart.is_done());
            assert_eq!(file, b"QFI\r\n--bytes");
            assert_eq!(multipart.params["checksum"], "00ff");
            assert_eq!(multipart.params["filename"], "x.qcow2");
        }
    }

    #[test]
    fn another_order_has_a_line_end_in_its_error() {
        let body = part("name=\"content\"", "import")
            + &part("name=\"checksum\"", "00ff")
            + &part("name=\"checksum-algorithm\"", "sha256")
            + &part("name=\"filename\"; filename=\"x.qcow2\"", "x")
            + "--b--\r\n";
        assert!(parse(&body, 1000).unwrap_err().0.contains('\r'));
    }

    #[test]
    fn a_file_before_its_fields_swallows_them() {
        let body =
            part("name=\"filename\"; filename=\"x.qcow2\"", "x") + &part("name=\"content\"", "import") + "--b--\r\n";
        let (multipart, _) = parse(&body, 1000).unwrap();
        assert!(multipart.is_done() && !multipart.params.contains_key("content"));
    }

    #[test]
    fn a_wrong_field_name_is_named() {
        let body = part("name=\"file\"; filename=\"x.qcow2\"", "x") + "--b--\r\n";
        assert!(parse(&body, 1000).unwrap_err().0.starts_with("wrong field name 'file' for file upload"));
    }
}
