//! The ring that followers share.

use super::*;
use db::log::Frames;
use process::Failpoint;

/// Something with the length of a record; its hash tells its seq.
fn announce(followers: &Followers, seq: u64, bytes: usize) {
    followers.announce(seq, &vec![seq as u8; bytes], &[seq as u8; 32]);
}

fn seqs(next: Option<Chunk>) -> Option<(u64, u64)> {
    next.map(|chunk| (chunk.first_seq, chunk.last_seq))
}

#[tokio::test]
async fn followers_get_what_is_announced_after_they_joined() {
    let followers = Followers::new(5, QueueLimits::default());
    let (seq, mut early) = followers.join();
    assert_eq!(seq, 5);
    announce(&followers, 6, 1);
    let (seq, mut late) = followers.join();
    assert_eq!(seq, 6);
    announce(&followers, 7, 1);
    assert_eq!(seqs(early.next().await), Some((6, 6)));
    assert_eq!(seqs(early.next().await), Some((7, 7)));
    assert_eq!(seqs(late.next().await), Some((7, 7)));
    assert_eq!(late.next_now(), Next::Nothing);
    drop(early);
    assert_eq!(followers.count(), 1);
}

#[tokio::test]
async fn records_that_wait_together_go_together_and_everyone_gets_the_same_bytes() {
    let followers = Followers::new(0, QueueLimits::default());
    let ((_, mut one), (_, mut other)) = (followers.join(), followers.join());
    for seq in 1..=3 {
        announce(&followers, seq, 100);
    }
    let first = one.next().await.unwrap();
    assert_eq!((first.first_seq, first.last_seq), (1, 3));
    announce(&followers, 4, 100);
    let same = other.next().await.unwrap();
    assert_eq!(first.message.wire().as_ptr(), same.message.wire().as_ptr());
    // The slowest lacks the fourth, whatever is kept of those before it.
    let behind = followers.behind_bytes();
    assert!((100..200).contains(&behind), "{behind}");
    assert_eq!(seqs(other.next().await), Some((4, 4)));
    assert_eq!(followers.behind_bytes(), behind);
    assert_eq!(seqs(one.next().await), Some((4, 4)));
    assert_eq!(followers.behind_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_hears_of_every_record_however_quickly_they_come() {
    const RECORDS: u64 = 20_000;
    let followers = Followers::new(0, QueueLimits { records_max: usize::MAX, bytes_max: usize::MAX });
    let mut reading = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (_, mut follower) = followers.join();
        reading.spawn(async move {
            let mut read = 0;
            while read < RECORDS {
                let chunk = follower.next().await.unwrap();
                assert_eq!(chunk.first_seq, read + 1);
                read = chunk.last_seq;
            }
        });
    }
    let announced = std::thread::spawn(move || (1..=RECORDS).for_each(|seq| announce(&followers, seq, 20)));
    let all = tokio::time::timeout(Duration::from_secs(30), reading.join_all()).await;
    all.expect("nobody waits for a record that is there");
    announced.join().unwrap();
}

#[tokio::test]
async fn a_chunk_has_a_bound_and_what_all_have_read_is_kept_no_longer() {
    let followers = Followers::new(0, QueueLimits::default());
    let (_, mut follower) = followers.join();
    for seq in 1..=200 {
        announce(&followers, seq, 10_000);
    }
    let (mut chunks, mut read) = (0, 0);
    while read < 200 {
        let chunk = follower.next().await.unwrap();
        assert_eq!(chunk.first_seq, read + 1);
        assert!(chunk.message.frames().len() < CHUNK_BYTES + 11_000);
        (chunks, read) = (chunks + 1, chunk.last_seq);
    }
    assert!((25..=40).contains(&chunks), "{chunks}");
    for seq in 201..=1000 {
        announce(&followers, seq, 10_000);
        assert_eq!(follower.next().await.unwrap().last_seq, seq);
        assert!(followers.bytes() < 4 << 20, "{} bytes are kept at {seq}", followers.bytes());
    }
    assert!(followers.bytes() < 64 * 10_100, "{}", followers.bytes());
    drop(follower);
    announce(&followers, 1001, 10_000);
    assert_eq!(followers.bytes(), 0);
}

#[tokio::test]
async fn a_follower_that_does_not_read_is_cut_off_and_the_others_are_not() {
    for (limits, bytes) in
        [(QueueLimits { records_max: 2, bytes_max: 1000 }, 1), (QueueLimits { records_max: 100, bytes_max: 120 }, 10)]
    {
        let followers = Followers::new(0, limits);
        let ((_, mut slow), (_, mut quick)) = (followers.join(), followers.join());
        for seq in 1..=2 {
            announce(&followers, seq, bytes);
            assert_eq!(seqs(quick.next().await), Some((seq, seq)));
        }
        assert_eq!(followers.count(), 2);
        announce(&followers, 3, bytes);
        assert_eq!(seqs(quick.next().await), Some((3, 3)));
        assert_eq!(followers.count(), 1);
        assert_eq!(slow.next().await, None);
    }
}

#[tokio::test]
async fn one_that_reads_nothing_is_cut_off_even_if_nobody_else_follows() {
    let followers = Followers::new(0, QueueLimits { records_max: 100, bytes_max: 1 << 20 });
    let (_, mut slow) = followers.join();
    for seq in 1..=201 {
        announce(&followers, seq, 100);
    }
    assert_eq!(followers.count(), 0);
    assert_eq!(slow.next().await, None);
}

#[tokio::test]
async fn one_record_larger_than_the_bound_still_gets_through() {
    let followers = Followers::new(0, QueueLimits { records_max: 2, bytes_max: 20 });
    let (_, mut subscription) = followers.join();
    announce(&followers, 1, 100);
    assert_eq!(seqs(subscription.next().await), Some((1, 1)));
    assert_eq!(followers.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_followers_are_woken_at_a_pace_and_get_everything() {
    let followers = Followers::new(0, QueueLimits::default());
    let pacing = followers.clone();
    let pace = tokio::spawn(async move { pacing.ring_at_a_pace(Failpoint::default()).await });
    let mut reading = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (_, mut subscription) = followers.join();
        reading.spawn(async move {
            let (mut read, mut chunks) = (0, 0);
            while read < 1000 {
                let chunk = subscription.next().await.expect("nobody is slow here");
                assert_eq!(chunk.first_seq, read + 1);
                (read, chunks) = (chunk.last_seq, chunks + 1);
            }
            chunks
        });
    }
    for seq in 1..=1000 {
        announce(&followers, seq, 200);
        if seq % 10 == 0 {
            tokio::time::sleep(Duration::from_micros(1000)).await;
        }
    }
    for chunks in reading.join_all().await {
        assert!((2..=60).contains(&chunks), "{chunks} messages for 1,000 records");
    }
    // When they have gone, the commit thread rings by itself, after the last pause.
    tokio::time::sleep(2 * PACE_MAX).await;
    assert_eq!((followers.count(), followers.lock().paced), (0, false));
    pace.abort();
}

#[tokio::test]
async fn a_message_holds_the_records_in_their_order() {
    let followers = Followers::new(0, QueueLimits::default());
    let (_, mut follower) = followers.join();
    announce(&followers, 1, 5);
    announce(&followers, 2, 7);
    let chunk = follower.next().await.unwrap();
    let frames = chunk.message.frames();
    let mut expected = Vec::new();
    db::log::push_frame(&mut expected, &[1; 5], &[1; 32]);
    db::log::push_frame(&mut expected, &[2; 7], &[2; 32]);
    assert_eq!(frames, expected);
    assert!(Frames::new(frames).next().unwrap().is_err(), "these are no records");
}
