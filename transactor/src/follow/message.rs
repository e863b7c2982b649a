//! A message of the stream as it stands on the wire, made once and shared by all who get it.
//!
//! ```text
//! 0        not compressed
//! u32 be   length of what follows
//! 0x0a     field 1 of FollowResponse, `frames`
//! varint   length of the frames
//! frames
//! ```
//! These are the bytes that any protobuf library would make of the same `FollowResponse` behind gRPC's prefix; the
//! frames are copied into them once, whoever follows.

use bytes::Bytes;
use db::log::{self, Hash};
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};
use proto::v1;

const GRPC_PREFIX_BYTES: usize = 5;
const FRAMES_TAG: u8 = 0x0a;
/// What may stand before the frames: gRPC's prefix, the field's tag, its length.
const BEFORE_BYTES_MAX: usize = GRPC_PREFIX_BYTES + 1 + 5;

/// Frames that become a message.
pub struct Draft {
    /// Room for what stands before the frames, then the frames.
    bytes: Vec<u8>,
}

/// A `FollowResponse` with gRPC's prefix. Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    wire: Bytes,
    frames_start: usize,
}

impl Default for Draft {
    fn default() -> Self {
        Draft::with_room(0)
    }
}

impl Draft {
    /// With room for so many bytes of frames before it must grow.
    pub fn with_room(frame_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(BEFORE_BYTES_MAX + frame_bytes);
        bytes.resize(BEFORE_BYTES_MAX, 0);
        Draft { bytes }
    }

    pub fn push(&mut self, record: &[u8], hash: &Hash) {
        log::push_frame(&mut self.bytes, record, hash);
    }

    pub fn frame_bytes(&self) -> usize {
        self.bytes.len() - BEFORE_BYTES_MAX
    }

    pub fn finish(self) -> Message {
        let frames = self.frame_bytes();
        // What stands before the frames ends where they begin, so that they need not move.
        let start = BEFORE_BYTES_MAX - GRPC_PREFIX_BYTES - 1 - encoded_len_varint(frames as u64);
        let mut bytes = self.bytes;
        let message_bytes = bytes.len() - start - GRPC_PREFIX_BYTES;
        let mut before = &mut bytes[start..BEFORE_BYTES_MAX];
        put_prefix(&mut before, message_bytes);
        bytes::BufMut::put_u8(&mut before, FRAMES_TAG);
        encode_varint(frames as u64, &mut before);
        Message { wire: Bytes::from(bytes).slice(start..), frames_start: BEFORE_BYTES_MAX - start }
    }
}

impl Message {
    /// Where the log ends, said when there is nothing new.
    pub fn heartbeat(head: v1::Head) -> Self {
        let response = v1::FollowResponse { frames: Bytes::new(), heartbeat: Some(head) };
        let mut bytes = Vec::with_capacity(GRPC_PREFIX_BYTES + response.encoded_len());
        put_prefix(&mut bytes, response.encoded_len());
        bytes.extend_from_slice(&response.encode_to_vec());
        Message { frames_start: bytes.len(), wire: bytes.into() }
    }

    /// Everything, gRPC's prefix first.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    pub fn frames(&self) -> &[u8] {
        &self.wire[self.frames_start..]
    }

    /// The message as a value, its frames still shared.
    pub fn response(&self) -> v1::FollowResponse {
        v1::FollowResponse::decode(self.wire.slice(GRPC_PREFIX_BYTES..)).expect("the bytes were made here")
    }
}

fn put_prefix(bytes: &mut impl bytes::BufMut, message_bytes: usize) {
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message_bytes).expect("a message holds records, none of which has a MiB, up to one"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_has_the_bytes_that_a_protobuf_library_makes() {
        // Around the lengths at which a varint grows.
        for record_bytes in [0, 1, 83, 84, 200, 16_339, 16_340, 250_000] {
            let mut draft = Draft::default();
            let mut frames = Vec::new();
            for _ in 0..2 {
                let (record, hash) = (vec![7; record_bytes], [9; 32]);
                draft.push(&record, &hash);
                log::push_frame(&mut frames, &record, &hash);
                assert_eq!(draft.frame_bytes(), frames.len());
            }
            let message = draft.finish();
            let response = v1::FollowResponse { frames: frames.into(), heartbeat: None };
            let expected = response.encode_to_vec();
            assert_eq!(message.wire[..5], [&[0][..], &(expected.len() as u32).to_be_bytes()].concat());
            assert_eq!(message.wire[5..], expected);
            assert_eq!(message.frames(), response.frames);
            assert_eq!(message.response(), response);
        }
    }

    #[test]
    fn a_heartbeat_has_no_frames() {
        let head = v1::Head { seq: 7, t: 6, ..Default::default() };
        let message = Message::heartbeat(head.clone());
        assert!(message.frames().is_empty());
        assert_eq!(message.response(), v1::FollowResponse { frames: Bytes::new(), heartbeat: Some(head) });
        assert_eq!(message.wire().len(), 5 + message.response().encoded_len());
    }
}
