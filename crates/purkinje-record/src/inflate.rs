//! Unpacking streams of DEFLATE and Brotli without trusting what they claim.

use std::io::{self, Read};

use brotli_decompressor::{BrotliDecoderParameter, Decompressor};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Bytes that the decoder of Brotli takes from its source at a time.
const BROTLI_BUFFER: usize = 4096;

/// The first `size` bytes of a zlib stream, or all if there are fewer. Allocates `size` bytes at once: the caller has checked it.
pub(crate) fn zlib(packed: &[u8], size: usize) -> io::Result<Vec<u8>> {
    unpack(ZlibDecoder::new(packed), size)
}

/// The same of a bare DEFLATE stream, as zip archives hold it.
pub(crate) fn deflate(packed: &[u8], size: usize) -> io::Result<Vec<u8>> {
    unpack(DeflateDecoder::new(packed), size)
}

/// The same of a gzip file.
pub(crate) fn gzip(packed: &[u8], size: usize) -> io::Result<Vec<u8>> {
    unpack(MultiGzDecoder::new(packed), size)
}

/// The same of a Brotli stream, whose window may have 16 MB at most.
pub(crate) fn brotli(packed: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let mut stream = Decompressor::new(packed, BROTLI_BUFFER);
    stream.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
    unpack(stream, size)
}

fn unpack(stream: impl Read, size: usize) -> io::Result<Vec<u8>> {
    // `read_to_end` would ask for more room to see that nothing follows, so read into what is there.
    let mut out = vec![0; size];
    let mut stream = stream;
    let mut filled = 0;
    while filled < size {
        match stream.read(&mut out[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    out.truncate(filled);
    Ok(out)
}
