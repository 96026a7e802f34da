//! A list and a watch, cut into objects while their bytes arrive: what is held at any time is one object, however many there are.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What of a list is not its items: kind and metadata.
const LARGEST_FRAME: usize = 64 << 10;
/// A buffer that grew beyond this for one object is given back after it.
const KEPT_BUFFER: usize = 64 << 10;

/// Cuts a list's JSON into its items.
#[derive(Debug)]
pub struct Items {
    largest: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    in_items: bool,
    item: Bounded,
    frame: Vec<u8>,
}

/// What a list says besides its items.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// From where to watch.
    pub resource_version: String,
    /// The next page's token; empty on the last one.
    pub next: String,
}

#[derive(Deserialize)]
struct Frame {
    kind: String,
    metadata: FrameMetadata,
}

#[derive(Deserialize)]
struct FrameMetadata {
    #[serde(rename = "resourceVersion")]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

impl Items {
    /// Hands out items of up to `largest` bytes.
    #[must_use]
    pub fn new(largest: usize) -> Self {
        Self {
            largest,
            depth: 0,
            in_string: false,
            escaped: false,
            in_items: false,
            item: Bounded::default(),
            frame: Vec::new(),
        }
    }

    /// Takes the next bytes and hands out the items that they complete.
    ///
    /// # Errors
    /// When this is no list.
    pub fn feed(&mut self, bytes: &[u8], found: &mut dyn FnMut(Piece<'_>)) -> Result<(), String> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.in_string && !self.escaped {
                // Most of a list is inside strings.
                let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len());
                if plain > 0 {
                    self.keep(&rest[..plain])?;
                    rest = &rest[plain..];
                    continue;
                }
            }
            self.take(byte, found)?;
            rest = after;
        }
        Ok(())
    }

    fn take(&mut self, byte: u8, found: &mut dyn FnMut(Piece<'_>)) -> Result<(), String> {
        if self.in_string {
            let ends = byte == b'"' && !self.escaped;
            self.escaped = byte == b'\\' && !self.escaped;
            self.in_string = !ends;
            return self.keep(&[byte]);
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => {
                if byte == b'[' && self.depth == 1 && ends_with_items_key(&self.frame) {
                    self.in_items = true;
                }
                self.depth += 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.checked_sub(1).ok_or("more brackets close than open")?;
                self.in_items &= self.depth > 1;
                if self.in_items && self.depth == 2 {
                    self.item.push(&[byte], self.largest);
                    self.item.hand_out(found);
                    return Ok(());
                }
            }
            b',' | b' ' | b'\n' if self.in_items && self.depth == 2 => return Ok(()),
            _ => {}
        }
        self.keep(&[byte])
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), String> {
        // The bracket that opens the items belongs to the frame, and so does the one that closes them.
        if self.in_items && (self.depth > 2 || self.in_string) {
            self.item.push(bytes, self.largest);
            return Ok(());
        }
        if self.frame.len() + bytes.len() > LARGEST_FRAME {
            return Err(format!("more than {} KiB besides the items", LARGEST_FRAME >> 10));
        }
        self.frame.extend_from_slice(bytes);
        Ok(())
    }

    /// What the list says besides its items, once all bytes are taken.
    ///
    /// # Errors
    /// When they are no whole list of a Kubernetes API server. What is no list must not be taken for an empty one: that would
    /// mean that all objects are gone.
    pub fn finish(self) -> Result<Page, String> {
        if self.item.bytes > 0 {
            return Err("it ends in the middle of an item".to_owned());
        }
        let frame: Frame = serde_json::from_slice(&self.frame).map_err(|error| error.to_string())?;
        if !frame.kind.ends_with("List") || frame.metadata.resource_version.is_empty() {
            return Err(format!("it is a {:?}, not a list with a resource version", frame.kind));
        }
        Ok(Page {
            resource_version: frame.metadata.resource_version,
            next: frame.metadata.next.unwrap_or_default(),
        })
    }
}

/// Whether `frame` ends with the key `items` and its colon.
fn ends_with_items_key(frame: &[u8]) -> bool {
    let frame = frame.trim_ascii_end();
    let Some(key) = frame.strip_suffix(b":") else { return false };
    let Some(before) = key.trim_ascii_end().strip_suffix(br#""items""#) else { return false };
    !before.ends_with(b"\\")
}

/// An object in its bytes, or that there was one that is too large.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The whole object.
    Whole(&'a [u8]),
    /// It had this many bytes.
    TooLarge(usize),
}

#[derive(Debug, Default)]
struct Bounded {
    buffer: Vec<u8>,
    /// All bytes, also those that were not kept.
    bytes: usize,
}

impl Bounded {
    fn push(&mut self, bytes: &[u8], largest: usize) {
        self.bytes += bytes.len();
        if self.bytes <= largest {
            self.buffer.extend_from_slice(bytes);
        } else {
            self.buffer = Vec::new();
        }
    }

    fn hand_out(&mut self, found: &mut dyn FnMut(Piece<'_>)) {
        let whole = self.buffer.len() == self.bytes;
        found(if whole { Piece::Whole(&self.buffer) } else { Piece::TooLarge(self.bytes) });
        self.bytes = 0;
        self.buffer.clear();
        if self.buffer.capacity() > KEPT_BUFFER {
            self.buffer = Vec::new();
        }
    }
}

/// Cuts a watch's bytes into lines.
#[derive(Debug)]
pub struct Lines {
    largest: usize,
    line: Bounded,
}

impl Lines {
    /// Hands out lines of up to `largest` bytes.
    #[must_use]
    pub fn new(largest: usize) -> Self {
        Self { largest, line: Bounded::default() }
    }

    /// Takes the next bytes and hands out the lines that they complete. An empty line is none.
    pub fn feed(&mut self, bytes: &[u8], found: &mut dyn FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line.push(&rest[..end], self.largest);
            if self.line.bytes > 0 {
                self.line.hand_out(found);
            }
            rest = &rest[end + 1..];
        }
        self.line.push(rest, self.largest);
    }
}

/// What a line of a watch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The object is new, or changed.
    Changed,
    /// The object is gone.
    Deleted,
    /// Nothing happened up to the object's resource version.
    Bookmark,
    /// The object is a `Status`: the watch is over.
    Error,
}

impl Kind {
    fn of(name: &str) -> Result<Self, String> {
        match name {
            "ADDED" | "MODIFIED" => Ok(Self::Changed),
            "DELETED" => Ok(Self::Deleted),
            "BOOKMARK" => Ok(Self::Bookmark),
            "ERROR" => Ok(Self::Error),
            other => Err(format!("a watch event of the unknown type {other:?}")),
        }
    }
}

/// Splits a line of a watch into its kind and its object.
///
/// # Errors
/// When it is no watch event.
pub fn event(line: &[u8]) -> Result<(Kind, &[u8]), String> {
    match as_written(line) {
        Some(split) => Ok(split),
        None => parsed(line),
    }
}

/// What API servers write: the type first, then the object. Saves one pass over each line; the object is parsed anyway.
fn as_written(line: &[u8]) -> Option<(Kind, &[u8])> {
    let rest = line.strip_prefix(br#"{"type":""#)?;
    let end = rest.iter().take(16).position(|byte| *byte == b'"')?;
    let kind = Kind::of(std::str::from_utf8(&rest[..end]).ok()?).ok()?;
    let object = rest[end..].strip_prefix(br#"","object":"#)?.trim_ascii_end().strip_suffix(b"}")?;
    Some((kind, object))
}

fn parsed(line: &[u8]) -> Result<(Kind, &[u8]), String> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        kind: String,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    let event: Event<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    Ok((Kind::of(&event.kind)?, event.object.get().as_bytes()))
}

/// The resource version of an object.
///
/// # Errors
/// When it has none.
pub fn resource_version(object: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(rename = "resourceVersion")]
        resource_version: String,
    }
    let object: Object = serde_json::from_slice(object).map_err(|error| error.to_string())?;
    Ok(object.metadata.resource_version)
}

/// Code and text of a `Status` object.
#[must_use]
pub fn status(object: &[u8]) -> (u16, String) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        code: Option<u16>,
        message: Option<String>,
        reason: Option<String>,
    }
    let status: Status = serde_json::from_slice(object).unwrap_or_default();
    let expired = matches!(status.reason.as_deref(), Some("Expired" | "Gone"));
    let code = if expired { 410 } else { status.code.unwrap_or(500) };
    (code, status.message.unwrap_or_else(|| format!("error {code} without a message")))
}

#[cfg(test)]
mod tests;
