//! Many followers at once, most of them idle: everyone gets every record of its database, and nothing of another.
//!
//! `DIACHRON_SLOW` makes them 200 idle and 50 busy ones. What they cost those who commit is measured by `bench-followers`.

use db::log::{DatabaseId, Frames};
use db::replay::Replay;
use diachron_tests::{Client, Flock, PATIENCE};
use proto::v1;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_busy_followers_get_every_record_of_their_database() {
    let (idle, busy, transactions) = match std::env::var_os("DIACHRON_SLOW") {
        Some(_) => (200, 50, 3000),
        None => (40, 20, 300),
    };
    let flock = Flock::start();
    let mut client = Client::connect(&flock.transactor_url()).await;
    let schema = "[{:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";
    let mut ids = Vec::new();
    for name in ["idle", "busy"] {
        let request = v1::CreateDatabaseRequest { name: name.into() };
        let created = client.transactor.create_database(request).await.unwrap().into_inner();
        ids.push(DatabaseId(created.database.unwrap().id[..].try_into().unwrap()));
        client.transact_directly(name, schema).await.unwrap();
    }
    let (idle_id, busy_id) = (ids[0], ids[1]);
    // The term's record and the log's first, the schema, and what is still to come.
    let last_idle_seq =
        client.transactor_status().await.databases.iter().map(|d| d.head.as_ref().unwrap().seq).max().unwrap();

    let mut followers = JoinSet::new();
    for number in 0..idle + busy {
        let (id, goal_t) = if number < idle { (idle_id, 2) } else { (busy_id, 1 + transactions) };
        let mut own = Client::connect(&flock.transactor_url()).await;
        followers.spawn(async move {
            let request = v1::FollowRequest { database_id: id.0.to_vec().into(), ..Default::default() };
            let mut stream = own.transactor.follow(request).await.unwrap().into_inner();
            let mut replay = Replay::new(id);
            while replay.chain().t() < goal_t {
                let message = stream.message().await.unwrap().expect("the stream goes on");
                for frame in Frames::new(&message.frames) {
                    // Checks seq, hash and t: neither gap nor duplicate.
                    replay.apply(&frame.unwrap().1, None).unwrap();
                }
            }
            (id, replay.chain().seq(), replay.chain().hash())
        });
    }

    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let mut client = client.clone();
        writers.spawn(async move {
            for n in (writer..transactions).step_by(4) {
                client.transact_directly("busy", &format!("[{{:item/n {n}}}]")).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    // The last word for the idle ones.
    client.transact_directly("idle", "[{:item/n 1}]").await.unwrap();

    let status = client.transactor_status().await;
    let head = |id: DatabaseId| {
        let database = status.databases.iter().find(|d| d.database.as_ref().unwrap().id == id.0[..]).unwrap();
        let head = database.head.as_ref().unwrap();
        (head.seq, head.hash.to_vec())
    };
    assert_eq!(head(idle_id).0, last_idle_seq + 1);
    let ended = tokio::time::timeout(PATIENCE, followers.join_all()).await.expect("everyone gets everything");
    assert_eq!(ended.len() as u64, idle + busy);
    for (id, seq, hash) in ended {
        assert_eq!((seq, hash.to_vec()), head(id));
    }
}
