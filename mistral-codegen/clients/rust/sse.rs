//! Server-sent events (WHATWG HTML, section 9.2): the data of each event of a stream.

use std::io::{BufRead, BufReader, Read};

use crate::Error;

/// Bytes of an event's data; the API's are far shorter.
const LONGEST: usize = 4 << 20;

/// The events of a stream, each as its data.
#[derive(Debug)]
pub struct Events<R> {
    lines: BufReader<R>,
    seen: u64,
}

impl<R: Read> Events<R> {
    /// Reads from `stream`.
    pub fn new(stream: R) -> Self {
        Self {
            lines: BufReader::new(stream),
            seen: 0,
        }
    }

    /// Events read so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The next event's data; `None` at the end of the stream. An event that the end cuts short is
    /// dropped, as the standard asks.
    ///
    /// # Errors
    /// [`Error::Cut`] when the connection fails, [`Error::LongEvent`].
    pub fn next_data(&mut self) -> Result<Option<String>, Error> {
        let mut data: Option<String> = None;
        loop {
            let Some(line) = self.line()? else {
                return Ok(None);
            };
            if line.is_empty() {
                if data.is_some() {
                    self.seen += 1;
                    return Ok(data);
                }
                continue;
            }
            // Comments begin with a colon; names other than `data` say nothing of the answer.
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            if name == "data" {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                }
                if data.as_ref().is_some_and(|d| d.len() > LONGEST) {
                    return Err(Error::LongEvent { most: LONGEST });
                }
            }
        }
    }

    /// A line without its end; `None` where no whole line is left.
    fn line(&mut self) -> Result<Option<String>, Error> {
        let mut bytes = Vec::new();
        // One byte more than an event may have tells a long line from one that just fits.
        let mut part = (&mut self.lines).take(LONGEST as u64 + 1);
        let read = part.read_until(b'\n', &mut bytes);
        read.map_err(|source| Error::Cut {
            events: self.seen,
            source: Some(source),
        })?;
        if bytes.len() > LONGEST {
            return Err(Error::LongEvent { most: LONGEST });
        }
        if bytes.pop() != Some(b'\n') {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_stream() {
        let text = ": hello\n\nevent: x\ndata: a\ndata:b\nid: 3\n\ndata: {\"c\": 1}\r\n\r\n\
                    data\n\ndata: [DONE]\n\ndata: not ended";
        let mut events = Events::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(data) = events.next_data().expect("readable") {
            found.push(data);
        }
        assert_eq!(found, ["a\nb", "{\"c\": 1}", "", "[DONE]"]);
        assert_eq!(events.seen(), 4);
    }

    #[test]
    fn an_endless_line_ends() {
        let mut events = Events::new(std::io::repeat(b'x'));
        let error = events.next_data().expect_err("too long");
        assert!(matches!(error, Error::LongEvent { .. }), "{error}");
    }
}
