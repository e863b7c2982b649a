//! Backups in a directory.

use super::Target;
use db::{Category, Error, Result};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

pub(super) struct Directory {
    url: String,
    dir: PathBuf,
    next: AtomicU64,
    /// Directories whose names are not durable yet. Held for a line.
    touched: Mutex<BTreeSet<PathBuf>>,
}

/// Where a file is while it is written. What is left in it when nobody writes is of one who was stopped.
const INCOMING: &str = ".incoming";

impl Directory {
    pub(super) fn new(dir: &str) -> Result<Directory> {
        let here = |error: io::Error| failed(Path::new(dir), "find", &error);
        let dir = std::path::absolute(dir).map_err(here)?;
        let url = format!("file:{}", dir.display());
        Ok(Directory { url, dir, next: AtomicU64::new(0), touched: Mutex::default() })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let incoming = self.dir.join(INCOMING);
        let temporary = incoming.join(format!("{}-{next}", std::process::id()));
        let written = match File::create(&temporary) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(&incoming)?;
                File::create(&temporary)
            }
            created => created,
        };
        let written = written.and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let renamed = written.and_then(|()| self.rename(&temporary, path));
        if renamed.is_err() {
            // Not needed by anybody; the error that is told is the one before.
            let _ = fs::remove_file(&temporary);
        }
        renamed
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let parent = to.parent().unwrap_or(&self.dir);
        match fs::rename(from, to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(parent)?;
                fs::rename(from, to)?;
            }
            renamed => renamed?,
        }
        // Directories that were made are names in those above.
        let above = parent.ancestors().take_while(|path| path.starts_with(&self.dir));
        self.touched().extend(above.map(Path::to_owned));
        Ok(())
    }

    fn touched(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list_below(&self, path: &Path, each: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        let here = |error: &io::Error| failed(path, "list", error);
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| here(&error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| here(&error))?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let metadata = match fs::metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata.map_err(|error| here(&error))?,
            };
            if metadata.is_dir() {
                self.list_below(&path, each)?;
            } else if let Some(name) = path.strip_prefix(&self.dir).ok().and_then(Path::to_str) {
                each(name, metadata.len())?;
            }
        }
        Ok(())
    }
}

impl Target for Directory {
    fn url(&self) -> &str {
        &self.url
    }

    fn put(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let path = self.dir.join(file);
        self.write(&path, bytes).map_err(|error| failed(&path, "write", &error))
    }

    fn settle(&self) -> Result<()> {
        let touched = std::mem::take(&mut *self.touched());
        // The directory's own name.
        let above = self.dir.parent().map(Path::to_owned).filter(|_| !touched.is_empty());
        for dir in touched.into_iter().chain(above) {
            File::open(&dir).and_then(|dir| dir.sync_all()).map_err(|error| failed(&dir, "sync", &error))?;
        }
        Ok(())
    }

    fn get(&self, file: &str, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let path = self.dir.join(file);
        let read = || -> io::Result<Vec<u8>> {
            let file = File::open(&path)?;
            let mut bytes = Vec::with_capacity(file.metadata()?.len().min(bytes_max) as usize);
            file.take(bytes_max + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) if bytes.len() as u64 > bytes_max => {
                let message = format!("{} is longer than the {bytes_max} bytes that it may have", path.display());
                Err(Error::corrupt("db.error/backup-damaged", message))
            }
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, "read", &error)),
        }
    }

    fn list(&self, folder: &str, each: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.list_below(&self.dir.join(folder), each)
    }
}

fn failed(path: &Path, what: &str, error: &io::Error) -> Error {
    let path = path.display();
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge);
    let (category, code, remedy) = match error.kind() {
        _ if full => {
            (Category::Busy, "db.error/backup-no-space", "; make room and begin again: what is there is not sent twice")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            (Category::Forbidden, "db.error/backup-target", "")
        }
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => (Category::Incorrect, "db.error/backup-target", ""),
        _ => (Category::Unavailable, "db.error/backup-target", ""),
    };
    Error::new(category, code, format!("cannot {what} {path}: {error}{remedy}"))
}
