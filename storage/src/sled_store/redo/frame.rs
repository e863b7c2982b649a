//! The bytes of a redo file: header, frames, and what is in them. All numbers are little endian.
//!
//! ```text
//! file    0     header (4,096 bytes)
//!         4096  mirror slot 0: one frame at its beginning
//!         …     mirror slot 1
//!         …     frames, one after the other, each padded with zeros to 8 bytes; then zeros
//!
//! header  "DIAREDO1" | format u32 | frame_bytes_max u32 | store id 16 | number u64 | file bytes u64
//!         | first commit u64 | salt 16 | crc32c u32 of the 72 bytes before
//!
//! frame   "DIAFRAME" | file u64 | commit u64 | offset u64 | kind u32 | length u32 | count u32 | 0 u32
//!         | pack u64 | pack end u64 | crc32c u32 | 0 u32 | payload (`length` bytes)
//! ```
//! The frame's crc32c goes over store id, salt, the 64 bytes before it, and the payload: no bytes of a client
//! can pass for a frame, since nobody outside knows the salt. `offset` is the frame's place in the file, in
//! the mirror too. `pack` and `pack end` say up to where the pack files were durable when it was written.
//!
//! ```text
//! kind 1, steps: `count` of
//!         1 record       database 16 | head | length u32 | bytes
//!         2 pod put      version u64 | name length u16 | name | length u32 | bytes
//!         3 pod deleted  name length u16 | name
//!         4 dropped      database 16
//!         5 sealed       database 16 | records before this seq u64
//!         6 kept         database 16 | count u32 | of each: seq u64 | length u32 | bytes
//!         7 replaced     database 16 | seq u64 | length of the old bytes u32 | length u32 | bytes; from format 2 on
//! kind 2, begin: part u32 | parts u32 | newest pod version u64 | redo files before this may be gone u64 | `count` of
//!         1 head         database 16 | head
//!         2 pod          version u64 | name length u16 | name | length u32 | bytes
//!         3 seal         database 16 | records before this seq u64
//! kind 3, checkpoint: commit u64 | SHA-256 of all heads, seals and pods | pack u64 | offset u64 | changes of the
//!         directory of segments u64 | redo files before this may be gone u64
//! kind 4, end: number of the next file u64
//!
//! head    term u64 | seq u64 | t u64 | index seq u64 | hash 32
//! ```

use crate::sled_store::bytes::{Fields, rounded_up};
use crate::sled_store::packs::PackPlace;
use crate::state::{Change, State};
use crate::{DatabaseId, Head, PodVersion, StoredRecord, sha256};

#[cfg(test)]
mod tests;

pub(crate) const FILE_MAGIC: &[u8; 8] = b"DIAREDO1";
pub(crate) const FRAME_MAGIC: &[u8; 8] = b"DIAFRAME";
pub(crate) const FILE_HEADER_BYTES: u64 = 4096;
pub(crate) const FRAME_HEADER_BYTES: usize = 72;
const FILE_HEADER_FIELDS: usize = 72;
const FRAME_CRC_AT: usize = 64;
pub(crate) const HEAD_BYTES: usize = 64;

/// What a redo file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) format: u32,
    pub(crate) frame_bytes_max: u32,
    pub(crate) store: [u8; 16],
    pub(crate) number: u64,
    pub(crate) file_bytes: u64,
    pub(crate) first_commit: u64,
    pub(crate) salt: [u8; 16],
}

impl FileHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FILE_HEADER_FIELDS + 4);
        out.extend_from_slice(FILE_MAGIC);
        out.extend_from_slice(&self.format.to_le_bytes());
        out.extend_from_slice(&self.frame_bytes_max.to_le_bytes());
        out.extend_from_slice(&self.store);
        for number in [self.number, self.file_bytes, self.first_commit] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.salt);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// None when the bytes are no header, or one that was changed.
    pub(crate) fn decode(bytes: &[u8]) -> Option<FileHeader> {
        let fields_bytes = bytes.get(..FILE_HEADER_FIELDS)?;
        let mut fields = Fields::new(bytes);
        let magic: [u8; 8] = fields.array()?;
        let header = FileHeader {
            format: fields.u32()?,
            frame_bytes_max: fields.u32()?,
            store: fields.array()?,
            number: fields.u64()?,
            file_bytes: fields.u64()?,
            first_commit: fields.u64()?,
            salt: fields.array()?,
        };
        let crc = fields.u32()?;
        (&magic == FILE_MAGIC && crc32c::crc32c(fields_bytes) == crc).then_some(header)
    }

    fn slot_bytes(&self) -> u64 {
        rounded_up(u64::from(self.frame_bytes_max), 4096)
    }

    /// Where the mirror of the frame with this commit number lies.
    pub(crate) fn mirror_offset(&self, commit: u64) -> u64 {
        FILE_HEADER_BYTES + (commit % 2) * self.slot_bytes()
    }

    /// Where the first frame lies.
    pub(crate) fn frames_offset(&self) -> u64 {
        FILE_HEADER_BYTES + 2 * self.slot_bytes()
    }

    fn crc_seed(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.store), &self.salt)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Steps,
    Begin,
    Checkpoint,
    End,
}

impl FrameKind {
    fn code(self) -> u32 {
        match self {
            FrameKind::Steps => 1,
            FrameKind::Begin => 2,
            FrameKind::Checkpoint => 3,
            FrameKind::End => 4,
        }
    }

    fn from_code(code: u32) -> Option<FrameKind> {
        [FrameKind::Steps, FrameKind::Begin, FrameKind::Checkpoint, FrameKind::End]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// A frame as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) commit: u64,
    pub(crate) offset: u64,
    pub(crate) kind: FrameKind,
    pub(crate) count: u32,
    /// Up to where the packs were durable.
    pub(crate) packs: PackPlace,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame's bytes, padded.
    pub(crate) fn encode(&self, header: &FileHeader) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() as usize);
        out.extend_from_slice(FRAME_MAGIC);
        for number in [header.number, self.commit, self.offset] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        // The writer keeps payloads under the header's frame_bytes_max, which is 32 bits wide.
        for number in [self.kind.code(), self.payload.len() as u32, self.count, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.packs.pack, self.packs.offset] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(header.crc_seed(), &out), self.payload);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.payload);
        out.resize(self.bytes() as usize, 0);
        out
    }

    /// The frame at the beginning of `bytes`, if there is a whole and unchanged one of this file.
    pub(crate) fn decode(bytes: &'a [u8], header: &FileHeader) -> Option<Frame<'a>> {
        if !bytes.starts_with(FRAME_MAGIC) {
            return None;
        }
        let checked = bytes.get(8..FRAME_HEADER_BYTES)?;
        let mut fields = Fields::new(checked);
        let file = fields.u64()?;
        let (commit, offset) = (fields.u64()?, fields.u64()?);
        let (kind, length, count) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let _zero = fields.u32()?;
        let packs = PackPlace { pack: fields.u64()?, offset: fields.u64()? };
        let crc = fields.u32()?;
        let length_max = u64::from(header.frame_bytes_max).saturating_sub(FRAME_HEADER_BYTES as u64);
        if file != header.number || u64::from(length) > length_max {
            return None;
        }
        let payload = bytes.get(FRAME_HEADER_BYTES..)?.get(..length as usize)?;
        let head = &bytes[..FRAME_CRC_AT];
        if crc32c::crc32c_append(crc32c::crc32c_append(header.crc_seed(), head), payload) != crc {
            return None;
        }
        Some(Frame { commit, offset, kind: FrameKind::from_code(kind)?, count, packs, payload })
    }

    /// How many bytes it takes in the file, padding included.
    pub(crate) fn bytes(&self) -> u64 {
        rounded_up((FRAME_HEADER_BYTES + self.payload.len()) as u64, 8)
    }
}

/// How long the payload of a frame says it is, if the frame may be that long.
pub(crate) fn payload_bytes(frame_header: &[u8], header: &FileHeader) -> Option<usize> {
    let length = Fields::new(frame_header.get(36..)?).u32()?;
    let length_max = u64::from(header.frame_bytes_max).checked_sub(FRAME_HEADER_BYTES as u64)?;
    (u64::from(length) <= length_max).then_some(length as usize)
}

/// What a checkpoint frame says: sled's file holds everything up to `commit` (or more), the heads and pods
/// then had this digest, and its directory holds all segments that lie before `packs` and so many changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) commit: u64,
    pub(crate) digest: [u8; 32],
    pub(crate) packs: PackPlace,
    pub(crate) directory_changes: u64,
    /// Redo files before this one are not needed any more, and may be gone.
    pub(crate) redo_first: u64,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.commit.to_le_bytes().to_vec();
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&self.packs.pack.to_le_bytes());
        out.extend_from_slice(&self.packs.offset.to_le_bytes());
        out.extend_from_slice(&self.directory_changes.to_le_bytes());
        out.extend_from_slice(&self.redo_first.to_le_bytes());
        out
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Checkpoint> {
        let mut fields = Fields::new(payload);
        let (commit, digest) = (fields.u64()?, fields.array()?);
        let packs = PackPlace { pack: fields.u64()?, offset: fields.u64()? };
        let (directory_changes, redo_first) = (fields.u64()?, fields.u64()?);
        fields.is_empty().then_some(Checkpoint { commit, digest, packs, directory_changes, redo_first })
    }
}

/// What stands in a begin frame before its items.
const BEGIN_FIELDS_BYTES: usize = 24;

/// Upper limit of the bytes that a step with this name and these bytes takes in a payload.
pub(crate) fn change_bytes_max(name: &str, bytes: &[u8]) -> usize {
    1 + 16 + HEAD_BYTES + 8 + name.len() + bytes.len()
}

/// The same of records that are said again.
pub(crate) fn kept_bytes_max(records: &[StoredRecord]) -> usize {
    1 + 16 + 4 + records.iter().map(|record| 12 + record.bytes.len()).sum::<usize>()
}

pub(crate) fn encode_change(change: &Change, out: &mut Vec<u8>) {
    match change {
        Change::Record { db, head, record } => {
            out.push(1);
            out.extend_from_slice(&db.0);
            encode_head(head, out);
            encode_sized(record, out);
        }
        Change::PodPut { name, version, bytes } => {
            out.push(2);
            encode_pod(name, *version, bytes, out);
        }
        Change::PodDeleted { name } => {
            out.push(3);
            encode_name(name, out);
        }
        Change::Dropped { db } => {
            out.push(4);
            out.extend_from_slice(&db.0);
        }
        Change::Sealed { db, before_seq } => {
            out.push(5);
            encode_seal(*db, *before_seq, out);
        }
        Change::Kept { db, records } => {
            out.push(6);
            out.extend_from_slice(&db.0);
            // They fit into a frame, and so does their count.
            out.extend_from_slice(&(records.len() as u32).to_le_bytes());
            for record in records {
                out.extend_from_slice(&record.seq.to_le_bytes());
                encode_sized(&record.bytes, out);
            }
        }
        Change::Replaced { db, seq, old_length, record } => {
            out.push(7);
            out.extend_from_slice(&db.0);
            out.extend_from_slice(&seq.to_le_bytes());
            out.extend_from_slice(&old_length.to_le_bytes());
            encode_sized(record, out);
        }
    }
}

/// The changes of a steps frame, or None when the payload is not what its kind says.
pub(crate) fn decode_changes(frame: &Frame) -> Option<Vec<Change>> {
    let mut fields = Fields::new(frame.payload);
    // No room is reserved for `count` changes: it is only a number until they are there.
    let mut changes = Vec::new();
    for _ in 0..frame.count {
        changes.push(match fields.u8()? {
            1 => {
                let db = DatabaseId(fields.array()?);
                let head = decode_head(&mut fields)?;
                Change::Record { db, head, record: fields.sized()?.to_vec() }
            }
            2 => {
                let (name, version, bytes) = decode_pod(&mut fields)?;
                Change::PodPut { name, version, bytes }
            }
            3 => Change::PodDeleted { name: decode_name(&mut fields)? },
            4 => Change::Dropped { db: DatabaseId(fields.array()?) },
            5 => Change::Sealed { db: DatabaseId(fields.array()?), before_seq: fields.u64()? },
            6 => {
                let (db, count) = (DatabaseId(fields.array()?), fields.u32()?);
                let mut records = Vec::new();
                for _ in 0..count {
                    let seq = fields.u64()?;
                    records.push(StoredRecord { seq, bytes: fields.sized()?.to_vec() });
                }
                Change::Kept { db, records }
            }
            7 => {
                let (db, seq, old_length) = (DatabaseId(fields.array()?), fields.u64()?, fields.u32()?);
                Change::Replaced { db, seq, old_length, record: fields.sized()?.to_vec() }
            }
            _ => return None,
        });
    }
    fields.is_empty().then_some(changes)
}

/// The payloads of the frames that begin a file: all heads and pods in order, none longer than `bytes_max`,
/// each with the count of its items.
pub(crate) fn encode_begin(state: &State, redo_first: u64, bytes_max: usize) -> Vec<(u32, Vec<u8>)> {
    let mut parts: Vec<(u32, Vec<u8>)> = vec![(0, Vec::new())];
    let mut add = |item: Vec<u8>| {
        if parts.last().is_some_and(|(_, part)| BEGIN_FIELDS_BYTES + part.len() + item.len() > bytes_max) {
            parts.push((0, Vec::new()));
        }
        if let Some((count, part)) = parts.last_mut() {
            *count += 1;
            part.extend_from_slice(&item);
        }
    };
    state_items(state, &mut add);
    let part_count = parts.len() as u32;
    let numbered = parts.into_iter().zip(0u32..).map(|((count, items), part)| {
        let mut payload = part.to_le_bytes().to_vec();
        payload.extend_from_slice(&part_count.to_le_bytes());
        payload.extend_from_slice(&state.pod_version_last().to_le_bytes());
        payload.extend_from_slice(&redo_first.to_le_bytes());
        payload.extend_from_slice(&items);
        (count, payload)
    });
    numbered.collect()
}

/// Which frame of a beginning it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BeginPart {
    pub(crate) part: u32,
    pub(crate) parts: u32,
    /// Redo files before this one are not needed any more, and may be gone.
    pub(crate) redo_first: u64,
}

/// Adds what a begin frame holds to `state`.
pub(crate) fn decode_begin(frame: &Frame, state: &mut State) -> Option<BeginPart> {
    let mut fields = Fields::new(frame.payload);
    let (part, parts) = (fields.u32()?, fields.u32()?);
    state.set_pod_version_last(fields.u64()?);
    let redo_first = fields.u64()?;
    for _ in 0..frame.count {
        match fields.u8()? {
            1 => {
                let db = DatabaseId(fields.array()?);
                state.set_head(db, decode_head(&mut fields)?);
            }
            2 => {
                let (name, version, bytes) = decode_pod(&mut fields)?;
                state.set_pod(name, version, bytes);
            }
            3 => state.set_seal(DatabaseId(fields.array()?), fields.u64()?),
            _ => return None,
        }
    }
    fields.is_empty().then_some(BeginPart { part, parts, redo_first })
}

/// The SHA-256 of all heads, seals and pods.
pub(crate) fn digest(state: &State) -> [u8; 32] {
    let mut bytes = state.pod_version_last().to_le_bytes().to_vec();
    state_items(state, &mut |item| bytes.extend_from_slice(&item));
    sha256(&bytes)
}

fn state_items(state: &State, add: &mut dyn FnMut(Vec<u8>)) {
    for (db, head) in state.heads() {
        let mut item = vec![1];
        item.extend_from_slice(&db.0);
        encode_head(head, &mut item);
        add(item);
    }
    for (db, before_seq) in state.seals() {
        let mut item = vec![3];
        encode_seal(*db, *before_seq, &mut item);
        add(item);
    }
    for (name, (version, bytes)) in state.pods() {
        let mut item = vec![2];
        encode_pod(name, *version, bytes, &mut item);
        add(item);
    }
}

pub(crate) fn encode_head(head: &Head, out: &mut Vec<u8>) {
    for number in [head.term, head.seq, head.t, head.index_seq] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&head.hash);
}

pub(crate) fn decode_head(fields: &mut Fields) -> Option<Head> {
    let (term, seq, t, index_seq) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
    Some(Head { term, seq, t, index_seq, hash: fields.array()? })
}

fn encode_seal(db: DatabaseId, before_seq: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&db.0);
    out.extend_from_slice(&before_seq.to_le_bytes());
}

fn encode_pod(name: &str, version: PodVersion, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&version.to_le_bytes());
    encode_name(name, out);
    encode_sized(bytes, out);
}

fn decode_pod(fields: &mut Fields) -> Option<(String, PodVersion, Vec<u8>)> {
    let version = fields.u64()?;
    let name = decode_name(fields)?;
    Some((name, version, fields.sized()?.to_vec()))
}

/// Pod names are at most [`crate::POD_NAME_BYTES_MAX`] bytes long, which fits into 16 bits.
fn encode_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

fn decode_name(fields: &mut Fields) -> Option<String> {
    let length = fields.u16()?;
    String::from_utf8(fields.take(usize::from(length))?.to_vec()).ok()
}

/// Whatever goes into a frame is shorter than the frame, whose length has 32 bits.
fn encode_sized(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}
