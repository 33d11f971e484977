//! Cuts a datagram into lines.

/// The lines of a datagram: pieces between line feeds, one carriage return before the line feed taken off, empty
/// pieces skipped.
pub fn lines(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_are_skipped_and_one_carriage_return_is_taken_off() {
        let cases: [(&[u8], &[&[u8]]); 8] = [
            (b"", &[]),
            (b"\n", &[]),
            (b"\r\n\n", &[]),
            (b"a:1|c", &[b"a:1|c"]),
            (b"a:1|c\n", &[b"a:1|c"]),
            (b"a:1|c\r\nb:1|c\r", &[b"a:1|c", b"b:1|c"]),
            (b"a:1|c\n\n\nb:1|c", &[b"a:1|c", b"b:1|c"]),
            (b"a\r\r\n", &[b"a\r"]),
        ];
        for (datagram, expected) in cases {
            assert_eq!(lines(datagram).collect::<Vec<_>>(), expected, "{datagram:?}");
        }
    }
}
