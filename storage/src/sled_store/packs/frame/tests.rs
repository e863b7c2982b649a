use super::*;
use crate::sha256;

fn file() -> FileHeader {
    let (store, salt) = (*b"sixteen bytes id", *b"salt for sixteen");
    FileHeader { format: 1, store, number: 2, emptied: false, before_end: 4104, salt }
}

fn frame(body: &[u8]) -> FrameHeader {
    let (lineage, database) = (DatabaseId([1; 16]), DatabaseId([2; 16]));
    let key = SegmentKey { lineage, database, term: 3, job: "index-12".into(), hash: sha256(body) };
    let body_crc = crc32c::crc32c(body);
    FrameHeader { offset: 72, length: body.len() as u32, key, body_crc }
}

/// As in the redo files: what is on disk is a promise to later versions.
#[test]
fn pack_bytes_are_the_golden_ones() {
    let mut bytes = file().encode();
    bytes.extend_from_slice(&frame(b"body").encode(&file()));
    let hex = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    assert_eq!(bytes.chunks(32).map(hex).collect::<String>(), include_str!("golden.hex"));
}

#[test]
fn pack_headers_come_back_as_written_and_changes_are_noticed() {
    let (file, frame) = (file(), frame(b"body"));
    let file_bytes = file.encode();
    assert_eq!(file_bytes.len() as u64, FILE_HEADER_BYTES);
    assert_eq!(FileHeader::decode(&file_bytes), Some(file.clone()));
    let emptied = FileHeader { emptied: true, ..file.clone() };
    assert_eq!(FileHeader::decode(&emptied.encode()), Some(emptied));
    for bit in 0..68 * 8 {
        let mut changed = file_bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(FileHeader::decode(&changed), None, "bit {bit}");
    }
    let frame_bytes = frame.encode(&file);
    assert_eq!(frame_bytes.len(), FRAME_HEADER_BYTES);
    assert_eq!(FrameHeader::decode(&frame_bytes, &file), Some(frame));
    for bit in 0..frame_bytes.len() * 8 {
        let mut changed = frame_bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(FrameHeader::decode(&changed, &file), None, "bit {bit}");
    }
    for length in 0..FRAME_HEADER_BYTES {
        assert_eq!(FrameHeader::decode(&frame_bytes[..length], &file), None);
    }
}
