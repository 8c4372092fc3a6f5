//! Whether a JPEG is all there.

/// Whether the file goes on to the end of its picture (ITU-T T.81, annex B). Decoders fill up what
/// is missing with grey. What follows the end, as in files of phones, does not matter, and previews
/// inside other segments do not count.
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

/// The next marker that begins a segment or ends the picture, and the position after it. Between
/// them is compressed data, where 0xff is followed by 0 or the number of a restart.
fn next_marker(bytes: &[u8], from: usize) -> Option<(u8, usize)> {
    let rest = bytes.get(from..)?;
    let pairs = rest.iter().zip(rest.get(1..)?).enumerate();
    let inside = |code: u8| matches!(code, 0x00 | 0x01 | 0xd0..=0xd8 | 0xff);
    pairs
        .filter(|(_, (first, code))| **first == 0xff && !inside(**code))
        .map(|(at, (_, code))| (*code, from + at + 2))
        .next()
}
