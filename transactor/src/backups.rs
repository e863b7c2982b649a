//! What a store knows of backups of its databases: pods `backup/ID/PLACE`, where PLACE are the first 16 hexadecimal digits
//! of the SHA-256 of the URL. Each holds an EDN map as text, `{:url "…" :t 123 :seq 45 :at #inst "…"}`, of the newest
//! backup there. Nobody deletes them: a backup outlives its database.

use crate::catalogue::Catalogue;
use crate::errors::{fenced, from_storage};
use crate::host::World;
use db::edn::{self, Edn};
use db::{Error, Result};
use proto::v1;
use storage::{DatabaseId, PodPut, sha256};
use stores::wire;

/// A URL is no longer than this.
const URL_BYTES_MAX: usize = 4096;
/// Each failure to put a pod means that somebody else has put it.
const PUT_TRIES: usize = 8;

/// Notes a backup. One of an earlier t than what is noted for that place changes nothing.
pub fn note(world: &World, made: &v1::NoteBackupRequest) -> Result<()> {
    let v1::NoteBackupRequest { database_id, url, t, seq } = made;
    let id = wire::database_id_of(database_id)?;
    if url.is_empty() || url.len() > URL_BYTES_MAX {
        let message = format!("a backup's URL has 1 to {URL_BYTES_MAX} bytes, this one {}", url.len());
        return Err(Error::incorrect("db.error/backup-url", message));
    }
    if Catalogue::new(world.journal.clone()).entry(id)?.is_none() {
        let message = format!("there is no database {id} here that a backup can be of");
        return Err(Error::not_found("db.error/unknown-database", message));
    }
    let pod = pod(id, url);
    let fields =
        [("url", Edn::string(url)), ("t", long(*t)), ("seq", long(*seq)), ("at", Edn::Inst(world.clock.now()))];
    let text = Edn::Map(fields.into_iter().map(|(key, value)| (Edn::keyword(key), value)).collect()).to_string();
    for _ in 0..PUT_TRIES {
        let (version, there) = world.journal.read_pod(&pod).map_err(from_storage)?.unwrap_or_default();
        if noted_seq(&there).is_some_and(|noted| noted > *seq) {
            return Ok(());
        }
        match world.journal.put_pod(&pod, version, text.as_bytes()).map_err(from_storage)? {
            PodPut::Done(_) => return Ok(()),
            PodPut::Conflict(_) => {}
        }
    }
    Err(fenced(format!("pod {pod:?} is changed by others over and over")))
}

fn pod(id: DatabaseId, url: &str) -> String {
    let place: String = sha256(url.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("backup/{id}/{place}")
}

fn noted_seq(pod: &[u8]) -> Option<u64> {
    match edn::read(std::str::from_utf8(pod).ok()?).ok()?.get("seq")? {
        Edn::Long(seq) => u64::try_from(*seq).ok(),
        _ => None,
    }
}

fn long(number: u64) -> Edn {
    Edn::Long(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{memory, start};

    #[tokio::test]
    async fn the_newest_backup_at_each_place_is_noted() {
        let memory = memory();
        let transactor = start(&memory);
        let id = transactor.create("world").await;
        let note = |url: &str, seq: u64| {
            let database_id = id.0.to_vec().into();
            note(&transactor.admin.world, &v1::NoteBackupRequest { database_id, url: url.into(), t: 7, seq })
        };
        for (url, seq) in [("file:/a", 9), ("file:/b", 5), ("file:/a", 8), ("file:/b", 6)] {
            note(url, seq).unwrap();
        }
        let journal = memory.store().journal();
        let pods = journal.list_pods(&format!("backup/{id}/")).unwrap();
        let texts = pods.iter().map(|pod| String::from_utf8(journal.read_pod(pod).unwrap().unwrap().1).unwrap());
        let mut noted: Vec<_> = texts
            .map(|text| edn::read(&text).unwrap())
            .map(|map| {
                assert!(matches!(map.get("at"), Some(Edn::Inst(_))) && map.get("t") == Some(&Edn::Long(7)));
                (map.get("url").unwrap().to_string(), map.get("seq").unwrap().to_string())
            })
            .collect();
        noted.sort();
        assert_eq!(noted, [("\"file:/a\"".into(), "9".into()), ("\"file:/b\"".into(), "6".into())]);
        assert_eq!(note("", 1).unwrap_err().code(), "db.error/backup-url");
        transactor.stop().await;
    }
}
