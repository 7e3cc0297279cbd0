//! Every line that is ever answered, spelled as memcached spells it.

use super::command::Reply;

pub(crate) const BAD_ARITHMETIC_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ma M token\r\n";
pub(crate) const BAD_DATA_CHUNK: &[u8] = b"CLIENT_ERROR bad data chunk\r\n";
pub(crate) const BAD_DELETE: &[u8] =
    b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";
pub(crate) const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta value\r\n";
pub(crate) const BAD_FLAG: &[u8] = b"CLIENT_ERROR invalid or duplicate flag\r\n";
pub(crate) const BAD_FLAG_LETTER: &[u8] = b"CLIENT_ERROR invalid flag\r\n";
pub(crate) const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
pub(crate) const BAD_INITIAL: &[u8] = b"CLIENT_ERROR invalid numeric initial value\r\n";
pub(crate) const BAD_KEY: &[u8] = b"CLIENT_ERROR error decoding key\r\n";
pub(crate) const BAD_MODE_LENGTH: &[u8] = b"CLIENT_ERROR incorrect length for M token\r\n";
pub(crate) const BAD_SET_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ms M token\r\n";
pub(crate) const BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad token in command line format\r\n";
pub(crate) const DELETED: &[u8] = b"DELETED\r\n";
pub(crate) const DUPLICATE_FLAG: &[u8] = b"CLIENT_ERROR duplicate flag\r\n";
pub(crate) const END: &[u8] = b"END\r\n";
pub(crate) const ERROR: &[u8] = b"ERROR\r\n";
pub(crate) const EXISTS: &[u8] = b"EXISTS\r\n";
pub(crate) const FLAGS_TOO_LONG: &[u8] = b"CLIENT_ERROR options flags too long\r\n";
pub(crate) const GET_FLAGS_TOO_LONG: &[u8] = b"CLIENT_ERROR options flags are too long\r\n";
pub(crate) const INVALID_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta argument\r\n";
pub(crate) const INVALID_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";
pub(crate) const LINE_TOO_LONG: &[u8] = b"CLIENT_ERROR line too long\r\n";
pub(crate) const META_NOOP: &[u8] = b"MN\r\n";
pub(crate) const NON_NUMERIC: &[u8] =
    b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
pub(crate) const NOT_FOUND: &[u8] = b"NOT_FOUND\r\n";
pub(crate) const NOT_STORED: &[u8] = b"NOT_STORED\r\n";
pub(crate) const OK: &[u8] = b"OK\r\n";
pub(crate) const OPAQUE_TOO_LONG: &[u8] = b"CLIENT_ERROR opaque token too long\r\n";
pub(crate) const OUT_OF_MEMORY: &[u8] = b"SERVER_ERROR out of memory\r\n";
pub(crate) const OUT_OF_MEMORY_CREATING: &[u8] =
    b"SERVER_ERROR Out of memory allocating new item\r\n";
pub(crate) const OUT_OF_MEMORY_STORING: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";
pub(crate) const RESET: &[u8] = b"RESET\r\n";
pub(crate) const STORED: &[u8] = b"STORED\r\n";
pub(crate) const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
pub(crate) const TOUCHED: &[u8] = b"TOUCHED\r\n";

/// Answers with `line`, unless the client asked for no answer.
pub(crate) fn answer(out: &mut Vec<u8>, reply: Reply, line: &[u8]) {
    if reply == Reply::Wanted {
        out.extend_from_slice(line);
    }
}
