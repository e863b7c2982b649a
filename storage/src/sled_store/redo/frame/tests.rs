use super::*;

fn header() -> FileHeader {
    FileHeader {
        format: 1,
        frame_bytes_max: 4096,
        store: *b"sixteen bytes id",
        number: 7,
        file_bytes: 1 << 16,
        first_commit: 90,
        salt: *b"salt for sixteen",
    }
}

fn head(seq: u64) -> Head {
    Head { term: 3, seq, t: seq - 1, hash: [9; 32], index_seq: 2 }
}

fn state() -> State {
    let mut state = State::default();
    state.set_head(DatabaseId([1; 16]), head(5));
    state.set_seal(DatabaseId([1; 16]), 2);
    state.set_pod("name/a".into(), 4, b"pod".to_vec());
    state.set_pod_version_last(6);
    state
}

fn changes() -> Vec<Change> {
    vec![
        Change::Record { db: DatabaseId([1; 16]), head: head(6), record: b"record".to_vec() },
        Change::PodPut { name: "name/ä".into(), version: 7, bytes: b"".to_vec() },
        Change::PodDeleted { name: "name/a".into() },
        Change::Dropped { db: DatabaseId([2; 16]) },
        Change::Sealed { db: DatabaseId([1; 16]), before_seq: 2 },
        Change::Kept {
            db: DatabaseId([1; 16]),
            records: vec![
                StoredRecord { seq: 5, bytes: b"five".to_vec() },
                StoredRecord { seq: 6, bytes: b"six".to_vec() },
            ],
        },
    ]
}

/// A header and one frame of each kind, as they follow one another in a file.
fn sample() -> Vec<u8> {
    let header = header();
    let mut steps = Vec::new();
    changes().iter().for_each(|change| encode_change(change, &mut steps));
    let begin = encode_begin(&state(), 6, 4000);
    let checkpoint = Checkpoint {
        commit: 91,
        digest: digest(&state()),
        packs: PackPlace { pack: 2, offset: 4096 },
        directory_changes: 11,
        redo_first: 7,
    };
    let payloads = [
        (FrameKind::Begin, begin[0].0, begin[0].1.clone()),
        (FrameKind::Steps, 6, steps),
        (FrameKind::Checkpoint, 1, checkpoint.encode()),
        (FrameKind::End, 1, 8u64.to_le_bytes().to_vec()),
    ];
    let mut out = header.encode();
    let mut offset = header.frames_offset();
    for ((kind, count, payload), commit) in payloads.iter().zip(90..) {
        let packs = PackPlace { pack: 2, offset: 8000 };
        let frame = Frame { commit, offset, kind: *kind, count: *count, packs, payload };
        out.extend_from_slice(&frame.encode(&header));
        offset += frame.bytes();
    }
    out
}

/// The bytes on disk are a promise to later versions. If this fails, the format has changed: a store of the
/// old one must be read still, or refused by name, and this text written again.
#[test]
fn redo_bytes_are_the_golden_ones() {
    let hex: String = sample()
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
        .collect();
    assert_eq!(hex, include_str!("golden.hex"));
}

/// A file of format 2: its header, and a frame with what that format adds.
#[test]
fn redo_bytes_of_format_2_are_the_golden_ones() {
    let header = FileHeader { format: 2, ..header() };
    let changes = [
        Change::Replaced { db: DatabaseId([1; 16]), seq: 5, old_length: 4, record: b"fifth".to_vec() },
        Change::Replaced { db: DatabaseId([1; 16]), seq: 6, old_length: 9000, record: b"6".to_vec() },
    ];
    let mut payload = Vec::new();
    changes.iter().for_each(|change| encode_change(change, &mut payload));
    let packs = PackPlace { pack: 2, offset: 8000 };
    let (offset, commit) = (header.frames_offset(), 90);
    let frame = Frame { commit, offset, kind: FrameKind::Steps, count: 2, packs, payload: &payload };
    let bytes = [header.encode(), frame.encode(&header)].concat();
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    assert_eq!(bytes.chunks(32).map(line).collect::<String>(), include_str!("golden-2.hex"));
    assert_eq!(FileHeader::decode(&bytes), Some(header.clone()));
    assert_eq!(decode_changes(&Frame::decode(&bytes[76..], &header).unwrap()).unwrap(), changes);
    for length in 0..payload.len() {
        let cut = Frame { payload: &payload[..length], ..frame };
        assert_eq!(decode_changes(&cut), None, "{length}");
    }
}

#[test]
fn frames_come_back_as_written() {
    let (header, bytes) = (header(), sample());
    assert_eq!(FileHeader::decode(&bytes), Some(header.clone()));
    let mut at = 76;
    let mut kinds = Vec::new();
    while let Some(frame) = Frame::decode(&bytes[at..], &header) {
        kinds.push(frame.kind);
        match frame.kind {
            FrameKind::Begin => {
                let mut decoded = State::default();
                assert_eq!(decode_begin(&frame, &mut decoded), Some(BeginPart { part: 0, parts: 1, redo_first: 6 }));
                assert_eq!(decoded, state());
            }
            FrameKind::Steps => assert_eq!(decode_changes(&frame), Some(changes())),
            FrameKind::Checkpoint => assert_eq!(Checkpoint::decode(frame.payload).unwrap().directory_changes, 11),
            FrameKind::End => assert_eq!(frame.payload, 8u64.to_le_bytes()),
        }
        at += frame.bytes() as usize;
    }
    assert_eq!(kinds, [FrameKind::Begin, FrameKind::Steps, FrameKind::Checkpoint, FrameKind::End]);
}

#[test]
fn a_changed_bit_anywhere_in_header_or_frame_is_noticed() {
    let (header, bytes) = (header(), sample());
    for bit in 0..76 * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(FileHeader::decode(&changed), None, "bit {bit}");
    }
    let frame = &bytes[76..];
    let length = FRAME_HEADER_BYTES + Frame::decode(frame, &header).unwrap().payload.len();
    for bit in (0..length * 8).filter(|bit| !(68 * 8..72 * 8).contains(bit)) {
        let mut changed = frame.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(Frame::decode(&changed, &header).is_none(), "bit {bit}");
    }
    let other = FileHeader { salt: [0; 16], ..header };
    assert!(Frame::decode(frame, &other).is_none(), "a frame of another salt");
}

/// Bytes cut off anywhere, and lengths and counts from garbage, are refused and allocate nothing.
#[test]
fn garbage_is_refused() {
    let (header, bytes) = (header(), sample());
    for length in 0..76 {
        assert_eq!(FileHeader::decode(&bytes[..length]), None);
    }
    let frame = Frame::decode(&bytes[76..], &header).unwrap();
    for length in 0..FRAME_HEADER_BYTES + frame.payload.len() {
        assert!(Frame::decode(&bytes[76..76 + length], &header).is_none());
    }
    let mut steps = Vec::new();
    changes().iter().for_each(|change| encode_change(change, &mut steps));
    let packs = PackPlace::START;
    for length in 0..steps.len() {
        let cut = Frame { commit: 1, offset: 0, kind: FrameKind::Steps, count: 6, packs, payload: &steps[..length] };
        assert_eq!(decode_changes(&cut), None, "{length}");
    }
    let huge = [&[1u8][..], &[0; 80], &[0xff; 4]].concat();
    let frame = Frame { commit: 1, offset: 0, kind: FrameKind::Steps, count: u32::MAX, packs, payload: &huge };
    assert_eq!(decode_changes(&frame), None);
}

#[test]
fn a_beginning_longer_than_a_frame_takes_several() {
    let mut state = State::default();
    for n in 0..50u8 {
        state.set_head(DatabaseId([n; 16]), head(5));
        state.set_pod(format!("name/{n:03}"), u64::from(n), vec![n; 100]);
    }
    let parts = encode_begin(&state, 3, 1000);
    assert!(parts.len() > 10);
    let mut decoded = State::default();
    for ((count, payload), part) in parts.iter().zip(0..) {
        assert!(payload.len() <= 1000);
        let packs = PackPlace::START;
        let frame = Frame { commit: 1, offset: 0, kind: FrameKind::Begin, count: *count, packs, payload };
        assert_eq!(
            decode_begin(&frame, &mut decoded),
            Some(BeginPart { part, parts: parts.len() as u32, redo_first: 3 })
        );
    }
    assert_eq!(decoded, state);
}
