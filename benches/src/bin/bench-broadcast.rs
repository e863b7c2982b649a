//! One record to many followers: shared chunks, beside a message encoded by prost for each follower.
//!
//! In process and on one thread, from the announcement to the bytes that the HTTP/2 connection takes; what comes after
//! (the kernel, the network) is the same for both. Records come alone or sixteen at a time, as they do while followers
//! are busy. Both ways bound what waits for a follower; the two are timed in turn.

use benches::Report;
use benches::measure::median;
use bytes::Bytes;
use hyper::body::Body;
use proto::v1::FollowResponse;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::codec::{EncodeBody, SingleMessageCompressionOverride};
use tonic::codegen::tokio_stream::Stream;
use tonic_prost::ProstEncoder;
use transactor::follow::{Followers, Next, QueueLimits};

const FOLLOWERS: [usize; 4] = [1, 10, 100, 1000];
/// A transaction of one person, and one of ten times as much.
const RECORD_BYTES: [usize; 2] = [263, 2_700];
const TOGETHER: [u64; 2] = [1, 16];
const MESSAGE_BYTES: usize = 64 << 10;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { run() });
}

fn run() {
    let (rounds, round) = match benches::is_quick() {
        true => (1, Duration::from_millis(5)),
        false => (5, Duration::from_millis(300)),
    };
    let mut report = Report::new("broadcast");
    let mut rows = Vec::new();
    for bytes in RECORD_BYTES {
        for together in TOGETHER {
            for followers in FOLLOWERS {
                let (mut shared, mut encoded) = (Vec::new(), Vec::new());
                for _ in 0..rounds {
                    shared.push(time(followers, bytes, together, round, shared_chunks));
                    encoded.push(time(followers, bytes, together, round, prost_per_follower));
                }
                let (shared, encoded) = (median(&shared).0, median(&encoded).0);
                let what = format!("{bytes} B, {together} together, {followers} followers");
                report.figure(&format!("{what}, shared"), shared, "records to a follower/s");
                report.figure(&format!("{what}, prost per follower"), encoded, "records to a follower/s");
                report.figure(&format!("{what}, shared : prost"), shared / encoded, "ratio");
                rows.push(vec![
                    bytes.to_string(),
                    together.to_string(),
                    followers.to_string(),
                    format!("{:.2} M/s", shared / 1e6),
                    format!("{:.2} M/s", encoded / 1e6),
                    format!("{:.1}", shared / encoded),
                ]);
            }
        }
    }
    let columns = ["record bytes", "together", "followers", "shared chunks", "prost per follower", "ratio"];
    report.table(&columns, &rows);
}

/// Records handed to followers a second: each record counts once for each follower.
fn time(followers: usize, bytes: usize, together: u64, during: Duration, way: fn(usize) -> Send) -> f64 {
    let record = vec![7; bytes];
    let mut send = way(followers);
    let begun = Instant::now();
    let mut records = 0;
    while begun.elapsed() < during {
        let sent = send(&record, together);
        assert!(sent >= followers * bytes * together as usize, "every follower gets every byte");
        records += together * followers as u64;
    }
    records as f64 / begun.elapsed().as_secs_f64()
}

const HASH: [u8; 32] = [9; 32];

/// Sends a record so many times together to everyone, and tells how many bytes went out.
type Send = Box<dyn FnMut(&[u8], u64) -> usize>;

fn shared_chunks(count: usize) -> Send {
    let followers = Followers::new(0, QueueLimits::default());
    let mut subscriptions: Vec<_> = (0..count).map(|_| followers.join().1).collect();
    let mut seq = 0;
    Box::new(move |record, together| {
        for _ in 0..together {
            seq += 1;
            followers.announce(seq, record, &HASH);
        }
        // What the actor does that wakes many followers.
        followers.close();
        let mut sent = 0;
        for subscription in &mut subscriptions {
            while let Next::Chunk(chunk) = subscription.next_now() {
                let wire: Bytes = chunk.message.wire().clone();
                sent += black_box(wire).len();
            }
        }
        sent
    })
}

/// One follower with a queue of its own, whose frames are gathered and encoded for it alone.
struct Alone {
    sender: mpsc::Sender<Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
    body: Pin<Box<EncodeBody<ProstEncoder<FollowResponse>, Gather>>>,
}

struct Gather {
    receiver: mpsc::Receiver<Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Stream for Gather {
    type Item = Result<FollowResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Nobody has to be woken here, and the runtime's budget for one task is no part of the question.
        let Ok(first) = self.receiver.try_recv() else { return Poll::Pending };
        let mut frames = Vec::new();
        frames.extend_from_slice(&first);
        while frames.len() < MESSAGE_BYTES
            && let Ok(next) = self.receiver.try_recv()
        {
            frames.extend_from_slice(&next);
        }
        self.waiting_bytes.fetch_sub(frames.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(FollowResponse { frames: frames.into(), heartbeat: None })))
    }
}

fn prost_per_follower(count: usize) -> Send {
    let mut followers: Vec<Alone> = (0..count)
        .map(|_| {
            let (sender, receiver) = mpsc::channel(4096);
            let waiting_bytes = Arc::new(AtomicUsize::new(0));
            let gather = Gather { receiver, waiting_bytes: waiting_bytes.clone() };
            let way = SingleMessageCompressionOverride::default();
            let body = Box::pin(EncodeBody::new_server(ProstEncoder::default(), gather, None, way, None));
            Alone { sender, waiting_bytes, body }
        })
        .collect();
    Box::new(move |record, together| {
        for _ in 0..together {
            let mut frame = Vec::new();
            db::log::push_frame(&mut frame, record, &HASH);
            let frame = Bytes::from(frame);
            for follower in &followers {
                follower.waiting_bytes.fetch_add(frame.len(), Ordering::Relaxed);
                follower.sender.try_send(frame.clone()).expect("there is room");
            }
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut sent = 0;
        for follower in &mut followers {
            while let Poll::Ready(Some(Ok(frame))) = follower.body.as_mut().poll_frame(&mut context) {
                sent += black_box(frame.into_data().expect("the stream has not ended")).len();
            }
        }
        sent
    })
}
