//! A disk that counts syncs, holds them back, fails them, and remembers all that was done to it.

use super::power_cut::{Event, FileId, Foreign, Trace};
use crate::disk::{Disk, DiskFile, OsDisk};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A disk over the operating system's. Clones share everything.
#[derive(Clone)]
pub struct FaultyDisk {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    inner: Mutex<Inner>,
    released: Condvar,
}

#[derive(Default)]
struct Inner {
    /// Syncs of files whose path contains this wait.
    held: Option<String>,
    /// How many syncs wait now.
    holding: usize,
    /// How many of them may go all the same.
    let_go: usize,
    /// Syncs that came back without an error, by path.
    syncs: BTreeMap<PathBuf, usize>,
    /// After so many more calls of this sort, every one of it fails.
    fail_syncs_after: Option<usize>,
    fail_writes_after: Option<usize>,
    bytes_free: Option<u64>,
    /// Syncs are counted and not done: nothing will cut the power but a trace.
    pretending: bool,
    recording: bool,
    events: Vec<Event>,
    ids: BTreeMap<PathBuf, FileId>,
    next_id: FileId,
    foreign: Option<Arc<Foreign>>,
}

/// Syncs are held back until this is dropped.
pub struct Held(FaultyDisk);

impl FaultyDisk {
    /// A disk for a store below `root`, with no faults yet.
    pub fn new(root: &Path) -> Self {
        let shared = Shared { root: root.to_owned(), inner: Mutex::default(), released: Condvar::new() };
        FaultyDisk { shared: Arc::new(shared) }
    }

    /// A disk that only pretends to sync, for tests that open many stores.
    pub fn pretending(root: &Path) -> Self {
        let disk = FaultyDisk::new(root);
        disk.inner().pretending = true;
        disk
    }

    /// A pretending disk that also remembers everything, for [`FaultyDisk::trace`]. `root` is empty now.
    pub fn recording(root: &Path) -> Self {
        let disk = FaultyDisk::pretending(root);
        disk.inner().recording = true;
        disk
    }

    /// How many syncs of files whose path contains `part` were done.
    pub fn syncs(&self, part: &str) -> usize {
        let inner = self.inner();
        inner.syncs.iter().filter(|(path, _)| path.to_string_lossy().contains(part)).map(|(_, count)| count).sum()
    }

    /// Holds back every sync of a file whose path contains `part`.
    pub fn hold_syncs(&self, part: &str) -> Held {
        self.inner().held = Some(part.to_owned());
        Held(self.clone())
    }

    /// How many syncs are held back now.
    pub fn holding(&self) -> usize {
        self.inner().holding
    }

    /// After `count` more syncs of files, every one fails.
    pub fn fail_syncs_after(&self, count: usize) {
        self.inner().fail_syncs_after = Some(count);
    }

    /// After `count` more writes, every one fails.
    pub fn fail_writes_after(&self, count: usize) {
        self.inner().fail_writes_after = Some(count);
    }

    /// No call fails any more.
    pub fn heal(&self) {
        let mut inner = self.inner();
        (inner.fail_syncs_after, inner.fail_writes_after, inner.bytes_free) = (None, None, None);
    }

    /// What the disk says is free.
    pub fn set_bytes_free(&self, bytes: u64) {
        self.inner().bytes_free = Some(bytes);
    }

    /// Notes that whatever `number` stands for was promised to somebody.
    pub fn mark(&self, number: u64) {
        self.record(Event::Mark(number));
    }

    /// All that was done to the disk so far.
    pub fn trace(&self) -> Trace {
        Trace { root: self.shared.root.clone(), events: self.inner().events.clone() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, event: Event) {
        let mut inner = self.inner();
        if inner.recording {
            inner.events.push(event);
        }
    }

    fn is_foreign(&self, path: &Path) -> bool {
        let below = path.strip_prefix(&self.shared.root).unwrap_or(path);
        below.components().any(|part| part.as_os_str().to_string_lossy().starts_with("sled"))
    }

    /// Takes a picture of sled's directory, which is written past this disk.
    fn picture_foreign(&self, synced: bool) {
        if !self.inner().recording {
            return;
        }
        let picture = Foreign::take(&self.shared.root);
        let mut inner = self.inner();
        let same = inner.foreign.clone().filter(|known| **known == picture);
        let picture = same.unwrap_or_else(|| Arc::new(picture));
        inner.foreign = Some(picture.clone());
        inner.events.push(Event::Foreign { picture, synced });
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>, create: bool) -> Arc<dyn DiskFile> {
        let mut inner = self.inner();
        let id = match inner.ids.get(path) {
            Some(id) if !create => *id,
            _ => {
                inner.next_id += 1;
                let id = inner.next_id;
                inner.ids.insert(path.to_owned(), id);
                id
            }
        };
        if create && inner.recording {
            inner.events.push(Event::Create { path: path.to_owned(), id });
        }
        drop(inner);
        Arc::new(FaultyFile { disk: self.clone(), id, file })
    }

    /// What the file is called now.
    fn path_of(&self, id: FileId) -> PathBuf {
        let inner = self.inner();
        inner.ids.iter().find(|(_, known)| **known == id).map(|(path, _)| path.clone()).unwrap_or_default()
    }

    fn before_write(&self) -> io::Result<()> {
        count_down(&mut self.inner().fail_writes_after, "write")
    }

    fn before_sync(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let is_held = |inner: &Inner| inner.held.as_ref().is_some_and(|part| path.to_string_lossy().contains(part));
        if is_held(&inner) {
            inner.holding += 1;
            while is_held(&inner) && inner.let_go == 0 {
                inner = self.shared.released.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
            inner.let_go = inner.let_go.saturating_sub(1);
            inner.holding -= 1;
        }
        count_down(&mut inner.fail_syncs_after, "sync")
    }

    fn after_sync(&self, path: &Path, id: FileId) {
        *self.inner().syncs.entry(path.to_owned()).or_default() += 1;
        match self.is_foreign(path) {
            true => self.picture_foreign(true),
            false => {
                self.record(Event::Sync { id });
                self.picture_foreign(false);
            }
        }
    }
}

fn count_down(left: &mut Option<usize>, what: &str) -> io::Result<()> {
    match left {
        None => Ok(()),
        Some(0) => Err(io::Error::other(format!("injected failure of a {what}"))),
        Some(left) => {
            *left -= 1;
            Ok(())
        }
    }
}

impl Held {
    /// Lets one sync go, the next that comes if none waits.
    pub fn let_one_go(&self) {
        self.0.inner().let_go += 1;
        self.0.shared.released.notify_one();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut inner = self.0.inner();
        (inner.held, inner.let_go) = (None, 0);
        drop(inner);
        self.0.shared.released.notify_all();
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, OsDisk.open(path)?, false))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.before_write()?;
        Ok(self.file(path, OsDisk.create_new(path)?, true))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir(path)?;
        self.record(Event::CreateDir { path: path.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)?;
        let mut inner = self.inner();
        let moved: Vec<PathBuf> = inner.ids.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in moved {
            if let (Some(id), Ok(below)) = (inner.ids.remove(&path), path.strip_prefix(from)) {
                let renamed = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
                inner.ids.insert(renamed, id);
            }
        }
        drop(inner);
        if !self.is_foreign(from) {
            self.record(Event::Rename { from: from.to_owned(), to: to.to_owned() });
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove_file(path)?;
        if !self.is_foreign(path) {
            self.record(Event::Remove { path: path.to_owned() });
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        count_down(&mut self.inner().fail_syncs_after, "sync")?;
        let pretending = self.inner().pretending;
        if !pretending {
            OsDisk.sync_dir(path)?;
        }
        if !self.is_foreign(path) {
            self.record(Event::SyncDir { path: path.to_owned() });
        }
        Ok(())
    }

    fn bytes_free(&self, path: &Path) -> io::Result<u64> {
        match self.inner().bytes_free {
            Some(bytes) => Ok(bytes),
            None => OsDisk.bytes_free(path),
        }
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    id: FileId,
    file: Arc<dyn DiskFile>,
}

impl FaultyFile {
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let path = self.disk.path_of(self.id);
        self.disk.before_sync(&path)?;
        let pretending = self.disk.inner().pretending;
        if !pretending {
            sync()?;
        }
        self.disk.after_sync(&path, self.id);
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.before_write()?;
        self.file.write_all_at(bytes, offset)?;
        self.disk.record(Event::Write { id: self.id, offset, bytes: bytes.into() });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(|| self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(|| self.file.sync_all())
    }

    fn bytes_len(&self) -> io::Result<u64> {
        self.file.bytes_len()
    }
}
