//! Power cuts: what a disk may hold when everything stops after some part of a run.
//!
//! The model is harsher than most disks. What was written and not synced is there, is not there, or is there
//! in sectors of 512 bytes, each by chance; names that were changed in a directory and not synced are changed
//! up to some point or not at all. sled's files, which are written past the injected disk, are as they were
//! at their last sync, as they were seen last, a mixture of both by pages, damaged, or gone.

use crate::conformance::Dice;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SECTOR_BYTES: usize = 512;
const PAGE_BYTES: usize = 4096;

pub(crate) type FileId = u64;

/// Something that was done to the disk.
#[derive(Clone)]
pub(crate) enum Event {
    Create { path: PathBuf, id: FileId },
    CreateDir { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    Write { id: FileId, offset: u64, bytes: Arc<[u8]> },
    Sync { id: FileId },
    SyncDir { path: PathBuf },
    Foreign { picture: Arc<Foreign>, synced: bool },
    Mark(u64),
}

/// All that was done to a disk, in order.
pub struct Trace {
    pub(crate) root: PathBuf,
    pub(crate) events: Vec<Event>,
}

/// What is left after a cut.
pub struct Cut {
    /// The marks made before it.
    pub marks: Vec<u64>,
    /// What was done to sled's directory, for messages.
    pub sled: &'static str,
}

/// Files that somebody else writes: the engine's directories, by path below the root.
#[derive(PartialEq, Eq)]
pub(crate) struct Foreign(BTreeMap<PathBuf, Vec<u8>>);

impl Foreign {
    pub(crate) fn take(root: &Path) -> Foreign {
        let mut files = BTreeMap::new();
        collect(root, root, false, &mut files);
        Foreign(files)
    }
}

/// Files that vanish while they are looked at are not in the picture.
fn collect(root: &Path, dir: &Path, within: bool, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let within = within || entry.file_name().to_string_lossy().starts_with("sled");
        if path.is_dir() {
            collect(root, &path, within, files);
        } else if within && let (Ok(below), Ok(bytes)) = (path.strip_prefix(root), std::fs::read(&path)) {
            files.insert(below.to_owned(), bytes);
        }
    }
}

impl Trace {
    /// How many places there are to cut at: before the first event, and after each.
    pub fn places(&self) -> usize {
        self.events.len() + 1
    }

    /// The places after which something was written, synced or named, which are those worth a cut.
    pub fn places_worth_a_cut(&self) -> Vec<usize> {
        let is_one = |event: &Event| !matches!(event, Event::Foreign { synced: false, .. } | Event::Mark(_));
        (1..self.places()).filter(|place| is_one(&self.events[place - 1])).collect()
    }

    /// Makes in `target`, an empty directory, what the root may hold when the power is cut after `place` events.
    pub fn cut(&self, place: usize, seed: u64, target: &Path) -> io::Result<Cut> {
        let mut dice = Dice::new(seed);
        let mut model = Model::default();
        let mut marks = Vec::new();
        let (mut synced, mut seen) = (None, None);
        for event in &self.events[..place] {
            match event {
                Event::Mark(number) => marks.push(*number),
                Event::Foreign { picture, synced: is_synced } => {
                    seen = Some(picture.clone());
                    if *is_synced {
                        synced = seen.clone();
                    }
                }
                event => model.apply(event),
            }
        }
        model.write_to(&self.root, target, &mut dice)?;
        let sled = write_foreign(synced.as_deref(), seen.as_deref(), target, &mut dice)?;
        Ok(Cut { marks, sled })
    }
}

/// The names and files as they are and as they are surely on the disk.
#[derive(Default)]
struct Model {
    files: BTreeMap<FileId, FileModel>,
    /// Changes of names in order: those of a directory are sure after its sync.
    names: Vec<NameChange>,
}

#[derive(Default)]
struct FileModel {
    synced: Vec<u8>,
    unsynced: Vec<(u64, Arc<[u8]>)>,
}

struct NameChange {
    dir: PathBuf,
    sure: bool,
    event: Event,
}

impl Model {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Create { path, id } => {
                self.files.entry(*id).or_default();
                self.rename_pending(path, event);
            }
            Event::CreateDir { path } | Event::Remove { path } => self.rename_pending(path, event),
            Event::Rename { to, .. } => self.rename_pending(to, event),
            Event::Write { id, offset, bytes } => {
                self.files.entry(*id).or_default().unsynced.push((*offset, bytes.clone()));
            }
            Event::Sync { id } => {
                let file = self.files.entry(*id).or_default();
                for (offset, bytes) in std::mem::take(&mut file.unsynced) {
                    write_at(&mut file.synced, offset as usize, &bytes);
                }
            }
            Event::SyncDir { path } => {
                self.names.iter_mut().filter(|change| change.dir == *path).for_each(|change| change.sure = true);
            }
            Event::Foreign { .. } | Event::Mark(_) => {}
        }
    }

    fn rename_pending(&mut self, path: &Path, event: &Event) {
        let dir = path.parent().unwrap_or(path).to_owned();
        self.names.push(NameChange { dir, sure: false, event: event.clone() });
    }

    fn write_to(&self, root: &Path, target: &Path, dice: &mut Dice) -> io::Result<()> {
        // Unsure changes of names reach the disk in order up to some point.
        let unsure = self.names.iter().filter(|change| !change.sure).count();
        let mut unsure_left = dice.below(unsure as u64 + 1);
        let mut names: BTreeMap<PathBuf, Option<FileId>> = BTreeMap::new();
        for change in &self.names {
            if !change.sure {
                if unsure_left == 0 {
                    continue;
                }
                unsure_left -= 1;
            }
            match &change.event {
                Event::Create { path, id } => drop(names.insert(path.clone(), Some(*id))),
                Event::CreateDir { path } => drop(names.insert(path.clone(), None)),
                Event::Remove { path } => drop(names.remove(path)),
                Event::Rename { from, to } => rename_all(&mut names, from, to),
                _ => {}
            }
        }
        for (path, file) in names {
            let Ok(below) = path.strip_prefix(root) else { continue };
            let path = target.join(below);
            match file {
                None => std::fs::create_dir_all(&path)?,
                Some(id) => {
                    if let Some(parent) = path.parent() {
                        std::fs::create_dir_all(parent)?;
                    }
                    std::fs::write(&path, self.files.get(&id).map_or(Vec::new(), |file| file.after_cut(dice)))?;
                }
            }
        }
        Ok(())
    }
}

impl FileModel {
    fn after_cut(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let fate = dice.below(4);
        for (offset, written) in &self.unsynced {
            match fate {
                0 => {}
                1 => write_at(&mut bytes, *offset as usize, written),
                _ => write_torn(&mut bytes, *offset as usize, written, dice),
            }
        }
        bytes
    }
}

fn rename_all(names: &mut BTreeMap<PathBuf, Option<FileId>>, from: &Path, to: &Path) {
    let moved: Vec<PathBuf> = names.keys().filter(|path| path.starts_with(from)).cloned().collect();
    for path in moved {
        if let (Some(file), Ok(below)) = (names.remove(&path), path.strip_prefix(from)) {
            let renamed = if below.as_os_str().is_empty() { to.to_owned() } else { to.join(below) };
            names.insert(renamed, file);
        }
    }
}

fn write_at(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    if bytes.len() < offset + written.len() {
        bytes.resize(offset + written.len(), 0);
    }
    bytes[offset..offset + written.len()].copy_from_slice(written);
}

/// Each sector of the file that the write touches gets there or not.
fn write_torn(bytes: &mut Vec<u8>, offset: usize, written: &[u8], dice: &mut Dice) {
    let mut done = 0;
    while done < written.len() {
        let sector_end = (offset + done) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
        let count = (sector_end - offset - done).min(written.len() - done);
        if dice.below(2) == 0 {
            write_at(bytes, offset + done, &written[done..done + count]);
        }
        done += count;
    }
}

fn write_foreign(
    synced: Option<&Foreign>,
    seen: Option<&Foreign>,
    target: &Path,
    dice: &mut Dice,
) -> io::Result<&'static str> {
    let fate = dice.below(8);
    let (base, what) = match fate {
        0 => return Ok("gone"),
        1..=2 => (synced, "as synced"),
        3..=4 => (seen, "as seen"),
        5 => (seen, "mixed"),
        6 => (seen, "cut short"),
        _ => (seen, "with lost pages"),
    };
    let Some(base) = base else { return Ok("never there") };
    for (below, bytes) in &base.0 {
        let mut bytes = bytes.clone();
        let before = synced.and_then(|synced| synced.0.get(below));
        match fate {
            5 => {
                for (page, chunk) in bytes.chunks_mut(PAGE_BYTES).enumerate() {
                    let old = before.and_then(|before| before.get(page * PAGE_BYTES..page * PAGE_BYTES + chunk.len()));
                    if let Some(old) = old.filter(|_| dice.below(2) == 0) {
                        chunk.copy_from_slice(old);
                    }
                }
            }
            6 => bytes.truncate(dice.below(bytes.len() as u64 + 1) as usize),
            7 => {
                for chunk in bytes.chunks_mut(PAGE_BYTES) {
                    if dice.below(8) == 0 {
                        chunk.fill(0);
                    }
                }
            }
            _ => {}
        }
        let path = target.join(below);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, bytes)?;
    }
    Ok(what)
}
