//! Indentation of JSON text without parsing its values.

/// Indents JSON by four spaces a level, as Go's skel prints results; what is nested absurdly deep stays compact. Strings and numbers are copied as they
/// are. The input has to be valid JSON; anything else is copied as far as it makes sense. No recursion.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    for (index, &byte) in json.iter().enumerate() {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                if !closes_next(&json[index + 1..]) {
                    new_line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    new_line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                new_line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                in_string = byte == b'"';
                out.push(byte);
            }
        }
    }
    out
}

fn closes_next(rest: &[u8]) -> bool {
    matches!(rest.iter().find(|b| !b.is_ascii_whitespace()), Some(b'}' | b']'))
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    // No result is deeper. Hostile depth must not turn a megabyte into a gigabyte of blanks.
    const DEEPEST: usize = 32;
    if depth <= DEEPEST {
        out.push(b'\n');
        out.resize(out.len() + 4 * depth, b' ');
    }
}
