//! Who else has what is erased: forks, which share the past before they left, and backups that were noted.

use crate::catalogue::{Catalogue, Entry, Standing};
use crate::commit::{Database, Durable};
use crate::errors::from_storage;
use crate::forking;
use crate::host::World;
use db::edn::{self, Edn};
use db::log::{self, ForkBody};
use db::{Result, T};
use proto::v1;
use storage::DatabaseId;
use stores::past::Past;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// By name.
    pub forks: Vec<String>,
    pub backups: Vec<v1::NotedBackup>,
}

/// Who has a life of a database that began at a t.
pub fn of(world: &World, database: &Database, began: Option<T>) -> Result<Holders> {
    let Some(began) = began else { return Ok(Holders::default()) };
    let durable = database.durable();
    let lineage = durable.chain.lineage().unwrap_or(durable.chain.database());
    let mut forks = Vec::new();
    for other in others(world, database.id, lineage)? {
        if shared_past(world, &other, lineage, database.id)?.is_some_and(|(t, _)| t >= began) {
            forks.push(other.name);
        }
    }
    forks.sort();
    Ok(Holders { forks, backups: backups(world, database.id, began)? })
}

/// The other databases of a lineage that are not deleted.
pub fn others(world: &World, id: DatabaseId, lineage: log::DatabaseId) -> Result<Vec<Entry>> {
    let all = Catalogue::new(world.journal.clone()).databases_of_lineage(DatabaseId(lineage.0))?;
    Ok(all.into_iter().filter(|entry| entry.id != id && entry.standing != Standing::Deleted).collect())
}

/// Up to which t and record of this database another one shares its past; None where it does not come from it.
pub fn shared_past(world: &World, other: &Entry, lineage: log::DatabaseId, id: DatabaseId) -> Result<Option<(T, u64)>> {
    let (journal, segments) = (&*world.journal, &*world.segments);
    let mut log = Past { journal, segments, lineage, id: Some(other.id), root: None };
    let mut shared_t = T::MAX;
    if other.standing == Standing::Creating && world.journal.head(other.id).map_err(from_storage)?.is_none() {
        return Ok(None);
    }
    while let Some(fork) = forking::origin_of(&log)? {
        shared_t = shared_t.min(fork.index.index_t);
        if fork.origin.0 == id.0 {
            return Ok(Some((shared_t, fork.index.chain.seq)));
        }
        (log.id, log.root) = (None, fork.index.log);
    }
    Ok(None)
}

/// Where a database left its origin; None where it is no fork.
pub fn shared_with_origin(world: &World, durable: &Durable) -> Result<Option<T>> {
    let chain = &durable.chain;
    let lineage = chain.lineage().unwrap_or(chain.database());
    if lineage == chain.database() {
        return Ok(None);
    }
    let root = durable.index.as_ref().and_then(|index| index.1.log);
    let id = Some(DatabaseId(chain.database().0));
    let log = Past { journal: &*world.journal, segments: &*world.segments, lineage, id, root };
    let fork: Option<ForkBody> = forking::origin_of(&log)?;
    Ok(fork.map(|fork| fork.index.index_t))
}

/// The backups of a database that were noted, those that have a t. One whose note cannot be read is named by its pod.
fn backups(world: &World, id: DatabaseId, t: T) -> Result<Vec<v1::NotedBackup>> {
    let mut found = Vec::new();
    for name in world.journal.list_pods(&format!("backup/{id}/")).map_err(from_storage)? {
        let Some((_, bytes)) = world.journal.read_pod(&name).map_err(from_storage)? else { continue };
        let noted = std::str::from_utf8(&bytes).ok().and_then(note);
        let backup = noted.unwrap_or_else(|| v1::NotedBackup { url: format!("noted in pod {name}"), t: T::MAX });
        if backup.t >= t {
            found.push(backup);
        }
    }
    Ok(found)
}

/// `{:url "…" :t 123 …}`.
fn note(text: &str) -> Option<v1::NotedBackup> {
    let Ok(Edn::Map(entries)) = edn::read(text) else { return None };
    let of = |name: &str| {
        let is_it = |key: &Edn| matches!(key, Edn::Keyword(keyword) if keyword.as_str() == name);
        entries.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
    };
    match (of("url")?, of("t")?) {
        (Edn::String(url), Edn::Long(t)) => Some(v1::NotedBackup { url: url.to_string(), t: u64::try_from(*t).ok()? }),
        _ => None,
    }
}
