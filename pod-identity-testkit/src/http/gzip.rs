/// `bytes` as a gzip file (RFC 1952) of stored blocks (RFC 1951 §3.2.4): valid, and not any smaller.
pub(crate) fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).expect("a chunk must fit its limit");
        file.push(u8::from(blocks.peek().is_none()));
        file.extend_from_slice(&length.to_le_bytes());
        file.extend_from_slice(&(!length).to_le_bytes());
        file.extend_from_slice(block);
    }
    if bytes.is_empty() {
        file.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    file.extend_from_slice(&crc32(bytes).to_le_bytes());
    // RFC 1952 §2.3.1: the size modulo 2^32.
    file.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    let folded = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _bit| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    });
    !folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_matches_the_specification() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn a_file_consists_of_header_blocks_checksum_and_size() {
        let file = stored(b"123456789");
        assert_eq!(&file[10..15], &[1, 9, 0, 0xf6, 0xff]);
        assert_eq!(&file[15..24], b"123456789");
        assert_eq!(&file[24..], &[0x26, 0x39, 0xf4, 0xcb, 9, 0, 0, 0]);
        assert_eq!(stored(&vec![7; 70_000]).len(), 70_000 + 10 + 2 * 5 + 8);
        assert_eq!(stored(b"").len(), 10 + 5 + 8);
    }
}
