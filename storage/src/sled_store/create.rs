//! Finding or making a store's directory, and holding it against others.
//!
//! A store is made as `DIR.creating` and renamed when everything in it is durable: a directory that has the
//! store's own name is a whole store.

use super::bytes::Fields;
use super::recover::{PACKS_DIR, REDO_DIR};
use super::redo::{FileHeader, RedoWriter};
use super::{FORMAT, io_error};
use crate::{Error, ErrorKind, Options, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const STORE_FILE: &str = "store";
const LOCK_FILE: &str = "lock";
const MAGIC: &[u8; 8] = b"DIASTORE";

/// A store's directory, held.
pub(crate) struct Opened {
    pub(crate) store: [u8; 16],
    pub(crate) lock: File,
}

pub(crate) fn open_or_create(dir: &Path, options: &Options) -> Result<Opened> {
    if is_nothing(dir, options)? {
        create(dir, options)?;
    }
    let names = options.disk.list(dir).map_err(|error| io_error("list", dir, error))?;
    if !names.iter().any(|name| name == STORE_FILE) {
        let is_ours = names.iter().any(|name| name == REDO_DIR);
        let (kind, what) = match is_ours {
            true => (ErrorKind::Corrupt, "its file \"store\" is missing; restore it from a backup"),
            false => (ErrorKind::Invalid, "there is something else in it; name an empty or new directory"),
        };
        return Err(Error::new(kind, format!("{} cannot be opened as a store: {what}", dir.display())));
    }
    let lock = hold(dir)?;
    Ok(Opened { store: read_store_file(dir, options)?, lock })
}

/// Whether nothing is at this path, or an empty directory.
fn is_nothing(dir: &Path, options: &Options) -> Result<bool> {
    match options.disk.list(dir) {
        Ok(names) => Ok(names.is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(io_error("list", dir, error)),
    }
}

fn create(dir: &Path, options: &Options) -> Result<()> {
    let disk = &*options.disk;
    let mut creating = dir.as_os_str().to_owned();
    creating.push(".creating");
    let creating = PathBuf::from(creating);
    make_dir(&creating, options)?;
    let _lock = hold(&creating)?;
    if !is_nothing(dir, options)? {
        // Somebody else was faster between the first look and the lock.
        return Ok(());
    }
    clear_leftovers(&creating, options)?;
    let mut random = [0; 32];
    let done = (options.entropy)(&mut random).and_then(|()| {
        let (store, salt) = random.split_at(16);
        // Both halves of 32 bytes have 16.
        let (store, salt): ([u8; 16], [u8; 16]) =
            (store.try_into().unwrap_or_default(), salt.try_into().unwrap_or_default());
        disk.create_dir(&creating.join(PACKS_DIR))?;
        disk.create_dir(&creating.join(REDO_DIR))?;
        let header = FileHeader {
            format: FORMAT,
            frame_bytes_max: options.frame_bytes_max,
            store,
            number: 1,
            file_bytes: options.redo_file_bytes,
            first_commit: 1,
            salt,
        };
        RedoWriter::create_first(disk, &creating.join(REDO_DIR), &header)?;
        let file = disk.create_new(&creating.join(STORE_FILE))?;
        file.write_all_at(&encode_store_file(store), 0)?;
        file.sync_all()?;
        disk.sync_dir(&creating.join(PACKS_DIR))?;
        disk.sync_dir(&creating)?;
        disk.rename(&creating, dir)?;
        disk.sync_dir(parent_of(dir))
    });
    done.map_err(|error| io_error("make the store", dir, error))
}

/// A creation that was cut off leaves a directory of the temporary name, of which nobody knows.
fn clear_leftovers(creating: &Path, options: &Options) -> Result<()> {
    let disk = &*options.disk;
    let clear = || {
        for name in disk.list(creating)?.iter().filter(|name| *name != LOCK_FILE) {
            let path = creating.join(name);
            if name == STORE_FILE {
                disk.remove_file(&path)?;
                continue;
            }
            for inner in disk.list(&path)? {
                disk.remove_file(&path.join(inner))?;
            }
            std::fs::remove_dir(&path)?;
        }
        Ok(())
    };
    clear().map_err(|error| io_error("clear", creating, error))
}

fn make_dir(dir: &Path, options: &Options) -> Result<()> {
    match options.disk.create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_error("make", dir, error)),
        _ => Ok(()),
    }
}

/// Takes the lock of a store's directory. It lasts as long as the file is open, and no longer than the process.
fn hold(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| io_error("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!("the store {} is in use by another process or by this one", dir.display());
            Err(Error::new(ErrorKind::InUse, message))
        }
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path, error)),
    }
}

fn encode_store_file(store: [u8; 16]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&store);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn read_store_file(dir: &Path, options: &Options) -> Result<[u8; 16]> {
    let path = dir.join(STORE_FILE);
    let mut bytes = [0; 64];
    let read = options.disk.open(&path).and_then(|file| file.read_at(&mut bytes, 0));
    let read = read.map_err(|error| io_error("read", &path, error))?;
    let decode = || {
        let mut fields = Fields::new(&bytes[..read]);
        let magic: [u8; 8] = fields.array()?;
        let (format, store) = (fields.u32()?, fields.array()?);
        let crc = fields.u32()?;
        (&magic == MAGIC && fields.is_empty() && crc32c::crc32c(&bytes[..28]) == crc).then_some((format, store))
    };
    match decode() {
        None => Err(Error::new(ErrorKind::Corrupt, format!("{} is damaged; restore it from a backup", path.display()))),
        Some((FORMAT, store)) => Ok(store),
        Some((format, _)) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("the store {} has format {format}, this version reads {FORMAT}", dir.display()),
        )),
    }
}

/// The directory that a path is in.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
