//! Detects truncated JPEGs.

/// Whether the file has the end marker of its picture (ITU-T T.81, annex B). Decoders fill missing
/// data with grey without an error. Data after the end, as phones write it, is ignored, and so are
/// previews inside other segments.
pub fn ends(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    const SCAN: u8 = 0xda;
    let (mut at, mut scanned) = (2, false);
    while let Some((marker, after)) = next_marker(bytes, at) {
        match (marker, bytes.get(after..after + 2)) {
            (END, _) => return scanned,
            (_, Some(length)) => {
                scanned |= marker == SCAN;
                at = after + usize::from(u16::from_be_bytes([length[0], length[1]]));
            }
            (_, None) => return false,
        }
    }
    false
}

/// The next marker that starts a segment or ends the picture, and the position after it. Compressed
/// data is skipped: there, 0xff is followed by 0 or a restart marker.
fn next_marker(bytes: &[u8], from: usize) -> Option<(u8, usize)> {
    let rest = bytes.get(from..)?;
    let pairs = rest.iter().zip(rest.get(1..)?).enumerate();
    let inside = |code: u8| matches!(code, 0x00 | 0x01 | 0xd0..=0xd8 | 0xff);
    pairs
        .filter(|(_, (first, code))| **first == 0xff && !inside(**code))
        .map(|(at, (_, code))| (*code, from + at + 2))
        .next()
}
