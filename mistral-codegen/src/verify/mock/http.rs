//! As much of HTTP/1.1 as clients of the mock need; each connection serves one request.

use std::io::{self, BufRead, Read, Write};

/// Bytes of a request's head and of its body.
const LONGEST_HEAD: u64 = 64 << 10;
const LONGEST_BODY: usize = 8 << 20;
/// Bytes of a stream that are sent at once: few, so that clients see lines and characters in parts.
const PART: usize = 23;

/// A request's head.
pub(super) struct Head {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) authorization: String,
}

/// A request with its body; `None` when the client sent none or more than is read.
pub(super) fn read(reader: &mut impl BufRead) -> io::Result<Option<(Head, Vec<u8>)>> {
    let mut lines = reader.by_ref().take(LONGEST_HEAD);
    let mut first = String::new();
    lines.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut head = Head {
        method: method.to_owned(),
        path: path.to_owned(),
        authorization: String::new(),
    };
    let mut length = 0;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else {
            return Ok(None);
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => head.authorization = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().unwrap_or(usize::MAX),
            _ => {}
        }
    }
    if length > LONGEST_BODY {
        return Ok(None);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((head, body)))
}

/// Sends a whole response.
pub(super) fn respond(
    out: &mut impl Write,
    status: u16,
    headers: &[(&str, String)],
    body: &str,
) -> io::Result<()> {
    let mut text = head(status, body.len());
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    out.write_all(format!("{text}\r\n{body}").as_bytes())
}

/// Sends the first half of a body whose whole length is promised.
pub(super) fn half(out: &mut impl Write, body: &str) -> io::Result<()> {
    out.write_all(format!("{}\r\n", head(200, body.len())).as_bytes())?;
    out.write_all(&body.as_bytes()[..body.len() / 2])
}

fn head(status: u16, length: usize) -> String {
    format!(
        "HTTP/1.1 {status} mock\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n"
    )
}

/// A body in chunks; without [`Stream::end`] it is cut.
pub(super) struct Stream<'o, W: Write>(&'o mut W);

impl<'o, W: Write> Stream<'o, W> {
    pub(super) fn begin(out: &'o mut W) -> io::Result<Self> {
        out.write_all(
            b"HTTP/1.1 200 mock\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\
              transfer-encoding: chunked\r\n\r\n",
        )?;
        Ok(Self(out))
    }

    pub(super) fn send(&mut self, text: &str) -> io::Result<()> {
        for part in text.as_bytes().chunks(PART) {
            write!(self.0, "{:x}\r\n", part.len())?;
            self.0.write_all(part)?;
            self.0.write_all(b"\r\n")?;
        }
        self.0.flush()
    }

    pub(super) fn end(self) -> io::Result<()> {
        self.0.write_all(b"0\r\n\r\n")?;
        self.0.flush()
    }
}
