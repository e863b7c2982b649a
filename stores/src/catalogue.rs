//! The catalogue: which names there are, and which databases.
//!
//! A database is its id. The pod `name/NAME` holds the 16 bytes of an id; the pod `db/ID` (32 hexadecimal digits)
//! holds the standing and the name it was created under, as text: `creating NAME`, `live NAME` or `deleted NAME`.
//! `db/ID` is put before the log begins and removed after the last byte, so that a log without it is damage and
//! never "not found"; one that is `creating` when a store is opened is finished if its log has begun, and cleared
//! otherwise.
//!
//! A deletion puts `deleted` into `db/ID`, which decides it, and then takes away `name/NAME` if that is still this
//! database's. One that was cut off between the two is finished when the store is opened or the name is given anew.
//! The other way round a crash would leave a live database without a name, which is what damage looks like.
//!
//! A store changes one pod in a step, or one head, and never both. So that no transactor deletes what another one has
//! taken over meanwhile, each of the two changes what the other one looks at: whoever takes a database over moves its
//! head first and then puts its pod anew ([`Catalogue::hold`]); whoever deletes it reads the pod first, then the head,
//! and puts the pod on the version that it has read. Of a takeover and a deletion that meet, either the deleter finds
//! the head moved or the pod put, or the pod says `deleted` when the other one comes to hold the database, which it
//! does before anybody hears of it as the owner.

use crate::errors::{fenced, from_storage};
use db::log::Header;
use db::{Category, Error, Result};
use std::sync::Arc;
use storage::{DatabaseId, Journal, PodPut, PodVersion, Records};

pub struct Catalogue {
    journal: Arc<dyn Journal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Creating,
    Live,
    Deleted,
}

/// A database as its pod `db/ID` tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: DatabaseId,
    pub name: String,
    pub standing: Standing,
    version: PodVersion,
}

const NAME_BYTES_MAX: usize = 128;
/// Each failure to put a pod means that somebody else has put it, which those who open and delete do once each.
const HOLD_TRIES: usize = 8;

impl Catalogue {
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Catalogue { journal }
    }

    /// All databases, in the order of their ids.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let pods = self.journal.list_pods("db/").map_err(from_storage)?;
        pods.iter().map(|pod| self.entry_of_pod(pod)).filter_map(Result::transpose).collect()
    }

    /// The id that a name stands for.
    pub fn find(&self, name: &str) -> Result<Option<DatabaseId>> {
        let Some((_, bytes)) = self.journal.read_pod(&name_pod(name)).map_err(from_storage)? else { return Ok(None) };
        let id = bytes.try_into().map_err(|_| {
            Error::corrupt("db.error/storage-corrupt", format!("pod {:?} does not hold 16 bytes", name_pod(name)))
        })?;
        Ok(Some(DatabaseId(id)))
    }

    pub fn entry(&self, id: DatabaseId) -> Result<Option<Entry>> {
        self.entry_of_pod(&db_pod(id))
    }

    /// The databases that may name segments of a lineage: its own ones, deleted ones whose log is still there among them,
    /// and those whose log has not begun, since a fork that is being made may be of any lineage. Before a segment of the
    /// lineage is given up, the roots of all of them count; while one has not begun, nothing is.
    pub fn databases_of_lineage(&self, lineage: DatabaseId) -> Result<Vec<Entry>> {
        let is_of = |entry: &Entry| Ok(self.lineage_of(entry.id)?.is_none_or(|of| of == lineage));
        let entries = self.entries()?.into_iter().map(|entry| Ok((is_of(&entry)?, entry)));
        entries.filter_map(|entry| entry.map(|(is_of, entry)| is_of.then_some(entry)).transpose()).collect()
    }

    /// The lineage that a database belongs to, as its newest record says; None before the first.
    pub fn lineage_of(&self, id: DatabaseId) -> Result<Option<DatabaseId>> {
        let Some(head) = self.journal.head(id).map_err(from_storage)? else { return Ok(None) };
        // It is never sealed.
        match self.journal.read(id, head.seq, 1).map_err(from_storage)? {
            Records::Found(records) if !records.is_empty() => {
                let header = Header::decode(&records[0].bytes)?;
                Ok(Some(DatabaseId(header.lineage.0)))
            }
            _ => {
                let message = format!("database {id} has lost record {}, which its head names", head.seq);
                Err(Error::corrupt("db.error/storage-corrupt", message))
            }
        }
    }

    /// Announces a database whose log is about to begin.
    pub fn begin(&self, id: DatabaseId, name: &str) -> Result<Entry> {
        check_name(name)?;
        let entry = Entry { id, name: name.to_owned(), standing: Standing::Creating, version: 0 };
        self.put(entry, Standing::Creating)
    }

    /// Gives a database whose log has begun its name, and declares it live. Doing it again changes nothing.
    ///
    /// None when the name belongs to another database already.
    pub fn finish(&self, entry: Entry) -> Result<Option<Entry>> {
        let pod = name_pod(&entry.name);
        let put = || self.journal.put_pod(&pod, 0, &entry.id.0).map_err(from_storage);
        let mut named = put()?;
        if let PodPut::Conflict(_) = named
            && let Some(holder) = self.find(&entry.name)?.map(|id| self.entry(id)).transpose()?.flatten()
            && holder.standing == Standing::Deleted
        {
            self.free_name(&holder)?;
            named = put()?;
        }
        match named {
            PodPut::Done(_) => {}
            PodPut::Conflict(_) if self.find(&entry.name)? == Some(entry.id) => {}
            PodPut::Conflict(_) => return Ok(None),
        }
        self.put(entry, Standing::Live).map(Some)
    }

    /// Puts the pod of a live database anew, as it is: from here on nobody deletes it who looked at its head before.
    /// Comes after the takeover of the log, and before anybody is served. What it gives says `deleted` when the deletion
    /// was decided before.
    pub fn hold(&self, id: DatabaseId) -> Result<Entry> {
        for _ in 0..HOLD_TRIES {
            let Some(entry) = self.entry(id)? else {
                let message = format!("the catalogue has lost database {id} while it was being opened");
                return Err(Error::corrupt("db.error/storage-corrupt", message));
            };
            if entry.standing == Standing::Deleted {
                return Ok(entry);
            }
            match self.put(entry, Standing::Live) {
                // Somebody came between, or our own put was done without our hearing of it: either way what matters is
                // a put after this look.
                Err(error) if matches!(error.category(), Category::Fenced | Category::Unknown) => {}
                put => return put,
            }
        }
        Err(changed_meanwhile(&db_pod(id)))
    }

    /// Declares a database deleted. From here on there is no way back. Whether it is ours to delete was looked at after
    /// the entry was read.
    pub fn condemn(&self, entry: Entry) -> Result<Entry> {
        let id = entry.id;
        match self.put(entry, Standing::Deleted) {
            Err(error) if error.category() == Category::Unknown => match self.entry(id)? {
                Some(entry) if entry.standing == Standing::Deleted => Ok(entry),
                _ => Err(error),
            },
            put => put,
        }
    }

    /// Takes a deleted database's name away, unless another one has it by now.
    pub fn free_name(&self, deleted: &Entry) -> Result<()> {
        assert!(deleted.standing == Standing::Deleted, "a live database keeps its name");
        let pod = name_pod(&deleted.name);
        match self.journal.read_pod(&pod).map_err(from_storage)? {
            Some((version, bytes)) if bytes == deleted.id.0 => {
                match self.journal.delete_pod(&pod, version).map_err(from_storage)? {
                    PodPut::Done(_) => Ok(()),
                    PodPut::Conflict(_) => Err(changed_meanwhile(&pod)),
                }
            }
            _ => Ok(()),
        }
    }

    /// Forgets a database whose creation came to nothing, its log included.
    pub fn clear(&self, entry: Entry) -> Result<()> {
        self.journal.drop_database(entry.id).map_err(from_storage)?;
        match self.journal.delete_pod(&db_pod(entry.id), entry.version).map_err(from_storage)? {
            PodPut::Done(_) => Ok(()),
            PodPut::Conflict(_) => Err(changed_meanwhile(&db_pod(entry.id))),
        }
    }

    fn put(&self, entry: Entry, standing: Standing) -> Result<Entry> {
        let pod = db_pod(entry.id);
        let text = format!("{} {}", standing.name(), entry.name);
        match self.journal.put_pod(&pod, entry.version, text.as_bytes()).map_err(from_storage)? {
            PodPut::Done(version) => Ok(Entry { standing, version, ..entry }),
            PodPut::Conflict(_) => Err(changed_meanwhile(&pod)),
        }
    }

    fn entry_of_pod(&self, pod: &str) -> Result<Option<Entry>> {
        let Some((version, bytes)) = self.journal.read_pod(pod).map_err(from_storage)? else { return Ok(None) };
        let read = || {
            let id = DatabaseId(from_hex(pod.strip_prefix("db/")?)?);
            let (standing, name) = std::str::from_utf8(&bytes).ok()?.split_once(' ')?;
            let standing = [Standing::Creating, Standing::Live, Standing::Deleted]
                .into_iter()
                .find(|candidate| candidate.name() == standing)?;
            Some(Entry { id, name: name.to_owned(), standing, version })
        };
        read().map(Some).ok_or_else(|| {
            Error::corrupt("db.error/storage-corrupt", format!("pod {pod:?} does not say what a catalogue pod says"))
        })
    }
}

impl Standing {
    fn name(self) -> &'static str {
        match self {
            Standing::Creating => "creating",
            Standing::Live => "live",
            Standing::Deleted => "deleted",
        }
    }
}

/// Refuses what cannot be a database's name.
pub fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.len() <= NAME_BYTES_MAX && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(fits) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    Err(Error::incorrect(
        "db.error/invalid-database-name",
        format!(
            "{shown:?} is no name for a database: give 1 to {NAME_BYTES_MAX} of letters, digits, `-`, `_` and `.`, \
             beginning with a letter or digit"
        ),
    ))
}

fn name_pod(name: &str) -> String {
    format!("name/{name}")
}

fn db_pod(id: DatabaseId) -> String {
    format!("db/{id}")
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

fn changed_meanwhile(pod: &str) -> Error {
    fenced(format!("pod {pod:?} was changed by someone else; another transactor uses this store"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::Options;

    fn catalogue() -> Catalogue {
        Catalogue::new(storage::open("memory:", Options::default()).unwrap().journal())
    }

    const ID: DatabaseId = DatabaseId([0xab; 16]);
    const OTHER: DatabaseId = DatabaseId([0xcd; 16]);

    #[test]
    fn a_database_is_announced_named_and_live() {
        let catalogue = catalogue();
        let entry = catalogue.begin(ID, "world").unwrap();
        assert_eq!(catalogue.find("world").unwrap(), None);
        assert_eq!(catalogue.entry(ID).unwrap().unwrap().standing, Standing::Creating);
        let entry = catalogue.finish(entry).unwrap().unwrap();
        assert_eq!(catalogue.find("world").unwrap(), Some(ID));
        assert_eq!(catalogue.entries().unwrap(), vec![entry]);
    }

    #[test]
    fn a_name_is_given_once_and_the_loser_is_cleared() {
        let catalogue = catalogue();
        let (first, second) = (catalogue.begin(ID, "world").unwrap(), catalogue.begin(OTHER, "world").unwrap());
        // The put of the name survived a crash, that of the standing did not.
        catalogue.finish(first.clone()).unwrap().unwrap();
        assert_eq!(catalogue.finish(second.clone()).unwrap(), None);
        catalogue.clear(second).unwrap();
        let names: Vec<String> = catalogue.entries().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["world"]);
        assert_eq!(catalogue.finish(first).unwrap_err().category(), Category::Fenced);
    }

    #[test]
    fn names_that_could_not_be_typed_are_refused() {
        for name in ["", "-x", ".", "a/b", "a b", "é", &"x".repeat(129)] {
            assert_eq!(check_name(name).unwrap_err().code(), "db.error/invalid-database-name", "{name:?}");
        }
        check_name("World-2_0.x").unwrap();
    }
}
