//! Reading an answer. It comes from a program that may be broken or replaced by another in the middle, so each part is bounded.

use std::io::{self, Read};

use super::{Error, broken};

/// Head, chunk sizes and trailers of the daemons are some hundred bytes.
const LARGEST_HEAD: usize = 16 << 10;
/// How many `100 Continue` and the like may come before the answer.
const MOST_INTERIM: usize = 4;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// How one tells where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reads one answer from `from`, of which the body has at most `largest` bytes.
///
/// # Errors
/// [`Error`], whatever the bytes are; memory stays within the bound.
pub fn read_response(from: &mut impl Read, largest: usize) -> Result<Response, Error> {
    let mut input = Input { from, buffer: Vec::new(), at: 0 };
    for _ in 0..MOST_INTERIM {
        let (status, body) = head(&mut input)?;
        let body = match status {
            100..=199 => continue,
            204 | 304 => Body::Length(0),
            _ => body,
        };
        return Ok(Response { status, body: read_body(&mut input, body, largest)? });
    }
    Err(Error::NotHttp("nothing but interim answers"))
}

fn head<R: Read>(input: &mut Input<'_, R>) -> Result<(u16, Body), Error> {
    let mut left = LARGEST_HEAD;
    let status = status_of(&input.line(&mut left)?)?;
    let mut body = Body::UntilClose;
    loop {
        let line = input.line(&mut left)?;
        if line.is_empty() {
            return Ok((status, body));
        }
        let colon =
            line.iter().position(|byte| *byte == b':').ok_or(Error::NotHttp("a header without colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Error::NotHttp("an unknown transfer encoding"));
            }
            body = Body::Chunked;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value, 10).ok_or(Error::NotHttp("a length that is no number"))?;
            body = match body {
                // RFC 9112, 6.3: chunked says more than a length does.
                Body::Chunked => Body::Chunked,
                Body::Length(other) if other != length => return Err(Error::NotHttp("two lengths")),
                _ => Body::Length(length),
            };
        }
    }
}

/// `HTTP/1.1 200 OK`.
fn status_of(line: &[u8]) -> Result<u16, Error> {
    let wrong = Error::NotHttp("no status line");
    let Some(rest) = line.strip_prefix(b"HTTP/1.") else { return Err(wrong) };
    let [b'0' | b'1', b' ', hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9', after @ ..] =
        rest
    else {
        return Err(wrong);
    };
    if !matches!(after, [] | [b' ', ..]) {
        return Err(wrong);
    }
    let digit = |byte: u8| u16::from(byte - b'0');
    Ok(digit(*hundreds) * 100 + digit(*tens) * 10 + digit(*ones))
}

fn read_body<R: Read>(input: &mut Input<'_, R>, body: Body, largest: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    match body {
        Body::Length(length) if length > largest => return Err(Error::TooLarge(largest)),
        Body::Length(length) => input.take(length, &mut bytes)?,
        Body::Chunked => chunks(input, largest, &mut bytes)?,
        Body::UntilClose => {
            while let Some(more) = input.some()? {
                bytes.extend_from_slice(more);
                let taken = more.len();
                input.at += taken;
                if bytes.len() > largest {
                    return Err(Error::TooLarge(largest));
                }
            }
        }
    }
    Ok(bytes)
}

fn chunks<R: Read>(input: &mut Input<'_, R>, largest: usize, into: &mut Vec<u8>) -> Result<(), Error> {
    loop {
        let mut left = LARGEST_HEAD;
        let line = input.line(&mut left)?;
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let size = number(size, 16).ok_or(Error::NotHttp("a chunk without size"))?;
        if size == 0 {
            break;
        }
        if size > largest - into.len() {
            return Err(Error::TooLarge(largest));
        }
        input.take(size, into)?;
        if !input.line(&mut 2)?.is_empty() {
            return Err(Error::NotHttp("a chunk longer than its size"));
        }
    }
    let mut left = LARGEST_HEAD;
    while !input.line(&mut left)?.is_empty() {}
    Ok(())
}

/// A number of digits alone; no sign, no spaces.
fn number(digits: &[u8], radix: u32) -> Option<usize> {
    if !digits.iter().all(|byte| char::from(*byte).is_digit(radix)) {
        return None;
    }
    usize::from_str_radix(str::from_utf8(digits).ok()?, radix).ok()
}

/// What has arrived and was not used yet.
struct Input<'a, R> {
    from: &'a mut R,
    buffer: Vec<u8>,
    at: usize,
}

impl<R: Read> Input<'_, R> {
    /// Some bytes that were not used yet; none at the end of the connection.
    fn some(&mut self) -> Result<Option<&[u8]>, Error> {
        if self.at == self.buffer.len() {
            self.buffer.resize(8 << 10, 0);
            self.at = 0;
            let read = loop {
                match self.from.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.buffer.clear();
                        return Err(broken(error));
                    }
                    Ok(read) => break read,
                }
            };
            self.buffer.truncate(read);
        }
        Ok(Some(&self.buffer[self.at..]).filter(|some| !some.is_empty()))
    }

    /// One line without its end; takes its length from `left`.
    fn line(&mut self, left: &mut usize) -> Result<Vec<u8>, Error> {
        let mut line = Vec::new();
        loop {
            let some = self.some()?.ok_or_else(cut_off)?;
            let end = some.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(some.len(), |end| end + 1);
            line.extend_from_slice(&some[..taken]);
            self.at += taken;
            *left = left.checked_sub(taken).ok_or(Error::NotHttp("a head that does not end"))?;
            if end.is_some() {
                line.truncate(line.len() - 1);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
        }
    }

    /// Exactly `length` bytes, put after what is in `into`.
    fn take(&mut self, length: usize, into: &mut Vec<u8>) -> Result<(), Error> {
        let mut left = length;
        while left > 0 {
            let some = self.some()?.ok_or_else(cut_off)?;
            let taken = some.len().min(left);
            into.extend_from_slice(&some[..taken]);
            self.at += taken;
            left -= taken;
        }
        Ok(())
    }
}

fn cut_off() -> Error {
    Error::Broken(io::ErrorKind::UnexpectedEof.into())
}
