//! Whether a program's file is whole. One that was cut may well start, and answer what needs none of its lost pages.

use std::fs::File;
use std::io::{self, Read};

/// The header of a 64-bit little-endian ELF file: all machines that this project is built for.
const HEADER: usize = 64;
const MAGIC: [u8; 6] = *b"\x7fELF\x02\x01";

/// Whether `file`, read from its beginning, ends before its table of sections does, which linkers write last. What is no such file is
/// not judged.
pub(crate) fn is_cut(file: &mut File) -> io::Result<bool> {
    let mut header = [0; HEADER];
    let Ok(()) = file.read_exact(&mut header) else { return Ok(false) };
    if header[..MAGIC.len()] != MAGIC {
        return Ok(false);
    }
    let number = |at: usize, bytes: usize| {
        header[at..at + bytes].iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte))
    };
    let (offset, size, count) = (number(40, 8), number(58, 2), number(60, 2));
    Ok(offset.saturating_add(size * count) > file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_program_that_was_cut_anywhere_is_known_and_a_whole_one_is_not_suspected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let whole = fs::read("/bin/true").unwrap();
        let cut = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            is_cut(&mut File::open(&path).unwrap()).unwrap()
        };
        assert!(!cut(&whole));
        for length in [HEADER, whole.len() / 2, whole.len() - 1] {
            assert!(cut(&whole[..length]), "{length} of {}", whole.len());
        }
        for other in [&b""[..], b"#!/bin/sh\n", &[b'x'; 100]] {
            assert!(!cut(other), "{other:?}");
        }
    }
}
