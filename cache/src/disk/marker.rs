//! The file that says what a directory is, so that no other is taken for a cache.

use db::log::DatabaseId;
use db::{Category, Error, Result};
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

const MARKER: &str = "diachron-cache";
const NEW_MARKER: &str = "diachron-cache.new";
const LOCK: &str = "lock";
const TITLE: &str = "diachron segment cache";
/// Of the directory's layout; those below it are cleared, those above it refused.
const FORMAT: u32 = 1;

/// Which databases a directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lineage {
    Any,
    One(DatabaseId),
}

/// What a directory held when it was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Cache,
    /// Of an older format; what it holds is of no use.
    Older(u32),
}

/// Takes a directory for this process, until the file is closed.
pub(super) fn take(dir: &Path, lineage: Lineage) -> Result<(File, Found)> {
    fs::create_dir_all(dir).map_err(|error| cannot(dir, "make it", &error))?;
    // Before anything is written into it.
    read(dir, lineage)?;
    let lock = File::create(dir.join(LOCK)).map_err(|error| cannot(dir, "make its lock", &error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let message = format!(
                "the cache directory {} is in use by another process; give each process a directory of its own",
                dir.display()
            );
            return Err(Error::conflict("db.error/cache-in-use", message));
        }
        Err(TryLockError::Error(error)) => return Err(cannot(dir, "lock it", &error)),
    }
    // Nobody else writes it from here on.
    let found = read(dir, lineage)?;
    Ok((lock, found))
}

/// Says what a directory is from now on.
pub(super) fn mark(dir: &Path, lineage: Lineage) -> Result<()> {
    let text = format!("{TITLE}\nformat {FORMAT}\nlineage {lineage}\n");
    let (new, marker) = (dir.join(NEW_MARKER), dir.join(MARKER));
    fs::write(&new, text).and_then(|()| fs::rename(&new, &marker)).map_err(|error| cannot(dir, "mark it", &error))
}

fn read(dir: &Path, lineage: Lineage) -> Result<Found> {
    let refused = |what: String| {
        let message = format!("{} {what}", dir.display());
        Err(Error::incorrect("db.error/cache-directory", message))
    };
    let text = match fs::read_to_string(dir.join(MARKER)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match foreign(dir).map_err(|error| cannot(dir, "list it", &error))? {
                None => Ok(Found::Nothing),
                Some(name) => refused(format!(
                    "is no cache directory, and not empty: it holds {name:?}; give an empty directory or a new one"
                )),
            };
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(error) => return Err(cannot(dir, "read its marker", &error)),
    };
    let mut lines = text.lines();
    let title = lines.next();
    let format = lines.next().and_then(|line| line.strip_prefix("format ")?.parse::<u32>().ok());
    let of = lines.next().and_then(|line| line.strip_prefix("lineage "));
    let (Some(TITLE), Some(format)) = (title, format) else {
        return refused(format!(
            "has a damaged marker; remove {MARKER:?} and all beside it, or give another directory"
        ));
    };
    if format < FORMAT {
        return Ok(Found::Older(format));
    }
    if format > FORMAT {
        return refused(format!(
            "is a cache directory of format {format}, made by a later version; this one knows {FORMAT}; give another \
             directory"
        ));
    }
    match of {
        Some(of) if of == lineage.to_string() => Ok(Found::Cache),
        Some(of) => refused(format!(
            "is a cache directory for lineage {of}, not for {lineage}; give another directory, or remove this one"
        )),
        None => {
            refused(format!("has a damaged marker; remove {MARKER:?} and all beside it, or give another directory"))
        }
    }
}

/// What is in a directory without a marker and was not left by a start that was cut off.
fn foreign(dir: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name != LOCK && name != NEW_MARKER {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

pub(super) fn cannot(dir: &Path, what: &str, error: &io::Error) -> Error {
    let message = format!("the cache directory {}: cannot {what}: {error}", dir.display());
    Error::new(Category::Unavailable, "db.error/cache-directory", message)
}

impl From<Option<DatabaseId>> for Lineage {
    fn from(lineage: Option<DatabaseId>) -> Lineage {
        lineage.map_or(Lineage::Any, Lineage::One)
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lineage::Any => f.write_str("any"),
            Lineage::One(id) => write!(f, "{id}"),
        }
    }
}
