//! The bytes of downloads and uploads: a repeating pattern, so that a byte lost, repeated or out
//! of place shows.

use std::io::{self, ErrorKind, Read, Write};

/// Length of the pattern: a prime, so that no power of two divides a shift.
const PERIOD: usize = 251;

/// Bytes moved per call: whole periods, about one TLS record.
const CHUNK: usize = PERIOD * 64;

/// Writes the first `length` bytes of the pattern.
pub(crate) fn write(stream: &mut impl Write, length: u64) -> io::Result<()> {
    let chunk = chunk();
    let mut left = length;
    while left > 0 {
        let part = chunk_length(left);
        stream.write_all(&chunk[..part])?;
        left -= part as u64;
    }
    stream.flush()
}

/// Reads `length` bytes and checks that they are the pattern.
pub(crate) fn read(stream: &mut impl Read, length: u64) -> io::Result<()> {
    let expected = chunk();
    let mut got = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        let part = chunk_length(left);
        stream.read_exact(&mut got[..part])?;
        if got[..part] != expected[..part] {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "the bytes received are wrong",
            ));
        }
        left -= part as u64;
    }
    Ok(())
}

fn chunk() -> Vec<u8> {
    (0..=u8::MAX).take(PERIOD).cycle().take(CHUNK).collect()
}

fn chunk_length(left: u64) -> usize {
    usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK))
}
