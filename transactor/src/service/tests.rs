//! The services called directly, over a store in memory: no ports, no processes.

use crate::follow::QueueLimits;
use crate::service::transactor::FollowStream;
use crate::testing::{NOON, memory, start, start_with};
use db::log::{DatabaseId, Frames};
use db::replay::Replay;
use db::{Category, Instant};
use proto::v1;
use proto::v1::storage_server::Storage as _;
use proto::v1::transactor_server::Transactor as _;
use tokio_stream::StreamExt;
use tonic::{Code, Request};

/// Reads messages until the chain is at `seq`.
async fn read_to(stream: &mut FollowStream, replay: &mut Replay, seq: u64) {
    while replay.chain().seq() < seq {
        let message = stream.next().await.unwrap().unwrap();
        for frame in Frames::new(&message.frames) {
            replay.apply(&frame.unwrap().1, None).unwrap();
        }
    }
}

#[tokio::test]
async fn a_transaction_is_answered_with_what_it_did() {
    let fixture = start(&memory());
    fixture.with_counter("world").await;
    let response = fixture.transact("world", r#"[{:db/id "c" :counter/name "a" :counter/n 1}]"#).await.unwrap();
    assert_eq!((response.t, response.basis_t_before, response.basis_t_after), (2, 1, 2));
    assert_eq!(response.instant_ms, NOON.0);
    assert_eq!(response.tempids.len(), 1);
    let attributes: Vec<&str> = response.datoms.iter().map(|datom| datom.attribute.as_str()).collect();
    assert_eq!(attributes, ["db/txInstant", "counter/name", "counter/n"]);
    assert_eq!((response.datom_count, response.datoms_omitted), (3, false));
    let head = fixture.head(DatabaseId(response.database_id[..].try_into().unwrap())).await;
    assert_eq!((head.seq, &head.hash[..]), (response.record_seq, &response.record_hash[..]));
    fixture.stop().await;
}

#[tokio::test]
async fn native_functions_are_expanded_on_the_value_before() {
    let fixture = start(&memory());
    fixture.with_counter("world").await;
    fixture.transact("world", r#"[{:counter/name "a" :counter/n 10} {:counter/name "b"}]"#).await.unwrap();
    let transfer = r#"[[:fn/transfer [:counter/name "a"] [:counter/name "b"] :counter/n 4]]"#;
    let response = fixture.transact("world", transfer).await.unwrap();
    // Instant, a's old and new number, b's new one.
    assert_eq!(response.datom_count, 4);
    let too_much = r#"[[:fn/transfer [:counter/name "a"] [:counter/name "b"] :counter/n 7]]"#;
    let refused = fixture.transact("world", too_much).await.unwrap_err();
    assert_eq!((refused.category(), refused.code()), (Category::Conflict, "fn.error/insufficient"));
    let response = fixture
        .transact("world", r#"[[:fn/increment "c" :counter/n 2] {:db/id "c" :counter/name "c"}]"#)
        .await
        .unwrap();
    assert_eq!(response.datom_count, 3);
    fixture.stop().await;
}

#[tokio::test]
async fn whatever_is_sent_as_a_transaction_the_transactor_lives_on() {
    let fixture = start(&memory());
    fixture.with_counter("world").await;
    let long_string = format!("[{{:counter/name {:?}}}]", "x".repeat(2 << 20));
    for tx_data in [
        "",
        "nil",
        "7",
        "\"x\"",
        "[",
        "]",
        "[nil]",
        "[[]]",
        "[[:db/add]]",
        "[[:nope 1]]",
        "[{:counter/n nil}]",
        "[{:counter/n \"one\"}]",
        "[{:no/such 1}]",
        "#{1}",
        "[[:db/add 99999999999 :counter/n 1]]",
        "[:a] [:b]",
        &"[".repeat(10 << 20),
        &long_string,
    ] {
        let shown: String = tx_data.chars().take(40).collect();
        let error = fixture.transact("world", tx_data).await.expect_err(&shown);
        assert!(
            matches!(error.category(), Category::Incorrect | Category::NotFound | Category::Conflict),
            "{shown}: {error:?}"
        );
    }
    let unknown = fixture.transact("wrld", "[]").await.unwrap_err();
    assert_eq!(unknown.code(), "db.error/unknown-database");
    assert_eq!(fixture.transact("world", "[]").await.unwrap().t, 2);
    fixture.stop().await;
}

#[tokio::test]
async fn a_follower_gets_every_record_from_the_log_and_then_live() {
    let fixture = start(&memory());
    let id = fixture.with_counter("world").await;
    let mut replay = Replay::new(id);
    let mut stream = fixture.follow(id, replay.chain()).await;
    read_to(&mut stream, &mut replay, 2).await;
    for n in 0..50 {
        fixture.transact("world", &format!(r#"[{{:counter/name "c{n}" :counter/n {n}}}]"#)).await.unwrap();
    }
    let head = fixture.head(id).await;
    read_to(&mut stream, &mut replay, head.seq).await;
    assert_eq!(replay.chain().hash()[..], head.hash[..]);
    assert_eq!(replay.db().basis_t(), 51);
    // Another one joins in the middle.
    let mut late = Replay::new(id);
    let mut stream = fixture.follow(id, late.chain()).await;
    read_to(&mut stream, &mut late, head.seq).await;
    assert_eq!(late.chain(), replay.chain());
    fixture.stop().await;
}

#[tokio::test]
async fn a_follower_that_knows_another_history_is_told() {
    let fixture = start(&memory());
    let id = fixture.with_counter("world").await;
    for (seq, hash) in [(2, [7; 32]), (1000, [0; 32])] {
        let request =
            v1::FollowRequest { database_id: id.0.to_vec().into(), seq, hash: bytes::Bytes::copy_from_slice(&hash) };
        let status = fixture.transactor.follow(Request::new(request)).await.err().unwrap();
        assert_eq!((status.code(), proto::error(&status).code()), (Code::DataLoss, "db.error/diverged"));
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_follower_that_does_not_read_is_cut_off_and_commits_go_on() {
    let store = memory().store();
    let limits = QueueLimits { records_max: 2, bytes_max: 1 << 20 };
    let fixture = start_with(store.journal(), store.segments(), limits);
    let id = fixture.with_counter("world").await;
    let mut replay = Replay::new(id);
    let mut stream = fixture.follow(id, replay.chain()).await;
    read_to(&mut stream, &mut replay, 2).await;
    // More than the queue, the messages on their way and the one in hand hold.
    for n in 0..40 {
        fixture.transact("world", &format!(r#"[{{:counter/name "c{n}"}}]"#)).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut ended = None;
    while let Some(message) = stream.next().await {
        match message {
            Ok(message) => {
                for frame in Frames::new(&message.frames) {
                    replay.apply(&frame.unwrap().1, None).unwrap();
                }
            }
            Err(status) => ended = Some(proto::error(&status)),
        }
    }
    assert_eq!(ended.unwrap().code(), "db.error/slow-consumer");
    // It follows again from where it is.
    let mut stream = fixture.follow(id, replay.chain()).await;
    read_to(&mut stream, &mut replay, fixture.head(id).await.seq).await;
    assert_eq!(replay.db().basis_t(), 41);
    fixture.stop().await;
}

#[tokio::test]
async fn a_restarted_transactor_has_everything_and_begins_a_term() {
    let memory = memory();
    let fixture = start(&memory);
    let id = fixture.with_counter("world").await;
    fixture.create("other").await;
    fixture.transact("world", r#"[{:counter/name "a" :counter/n 1}]"#).await.unwrap();
    let before = fixture.head(id).await;
    fixture.stop().await;

    let fixture = start(&memory);
    let after = fixture.head(id).await;
    assert_eq!((after.term, after.seq, after.t), (before.term + 1, before.seq + 1, before.t));
    let again = fixture.create("world").await;
    assert_eq!(again, id);
    let response = fixture.transact("world", r#"[[:fn/increment [:counter/name "a"] :counter/n 1]]"#).await.unwrap();
    assert_eq!((response.t, response.datom_count), (3, 3));
    let names = fixture.transactor.list_databases(Request::new(v1::ListDatabasesRequest {})).await.unwrap();
    let names: Vec<String> = names.into_inner().databases.into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["other", "world"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_transaction_too_large_for_a_record_goes_out_of_line_and_its_answer_says_what_it_left_out() {
    let fixture = start(&memory());
    let id = fixture.with_counter("world").await;
    let names = (0..100_000).map(|n| format!("{{:counter/name \"counter number {n}\"}}")).collect::<Vec<_>>().join(" ");
    let response = fixture.transact("world", &format!("[{names}]")).await.unwrap();
    assert_eq!((response.datom_count, response.datoms.len(), response.datoms_omitted), (100_001, 0, true));
    let mut stream = fixture.follow(id, Replay::new(id).chain()).await;
    let mut replay = Replay::new(id);
    while replay.chain().seq() < 3 {
        let message = stream.next().await.unwrap().unwrap();
        for frame in Frames::new(&message.frames) {
            let (_, record) = frame.unwrap();
            let segment = match &record.content {
                db::log::Content::Body(_) => None,
                db::log::Content::OutOfLine(place) => {
                    let key = v1::SegmentKey {
                        lineage_id: place.lineage.0.to_vec().into(),
                        database_id: place.database.0.to_vec().into(),
                        term: place.term,
                        job: "body".into(),
                        hash: place.hash.to_vec().into(),
                    };
                    let request = Request::new(v1::GetSegmentRequest { key: Some(key) });
                    let mut pieces = fixture.storage.get_segment(request).await.unwrap().into_inner();
                    let mut bytes = Vec::new();
                    while let Some(piece) = pieces.next().await {
                        bytes.extend_from_slice(&piece.unwrap().chunk);
                    }
                    Some(bytes)
                }
            };
            replay.apply(&record, segment.as_deref()).unwrap();
        }
    }
    assert_eq!(replay.db().basis_t(), 2);
    assert_eq!(fixture.transact("world", "[]").await.unwrap().t, 3);
    fixture.stop().await;
}

#[tokio::test]
async fn instants_never_go_back_and_a_clock_that_jumped_ahead_is_not_believed() {
    let fixture = start(&memory());
    fixture.with_counter("world").await;
    fixture.clock.set(Instant(NOON.0 - 5000));
    assert_eq!(fixture.transact("world", "[]").await.unwrap().instant_ms, NOON.0);
    fixture.clock.set(Instant(NOON.0 + 120_000));
    let refused = fixture.transact("world", "[]").await.unwrap_err();
    assert_eq!((refused.category(), refused.code()), (Category::Unavailable, "db.error/clock-jumped"));
    fixture.stop().await;
}
