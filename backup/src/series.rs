//! The backups of a target, database by database.

use crate::layout::{MANIFESTS, from_hex};
use crate::manifest::{self, Manifest};
use crate::target::Target;
use db::{Error, Result};
use std::collections::BTreeMap;
use storage::DatabaseId;

/// The backups of one database, oldest t first.
#[derive(Debug)]
pub struct Series {
    pub database: DatabaseId,
    pub backups: Vec<Listed>,
}

/// A manifest, or what is wrong with it.
#[derive(Debug)]
pub struct Listed {
    pub file: String,
    pub manifest: Result<Manifest>,
}

/// All backups of a target, in the order of the databases' ids.
pub fn list(target: &dyn Target) -> Result<Vec<Series>> {
    manifest::check_target(target)?;
    let mut series: BTreeMap<DatabaseId, Series> = BTreeMap::new();
    for file in manifest::files(target, None)? {
        let folder = file.strip_prefix(MANIFESTS).and_then(|rest| rest.split('/').next());
        // What somebody else put there is not ours to judge.
        let Some(database) = folder.and_then(from_hex).map(DatabaseId) else { continue };
        let Some(manifest) = manifest::read(target, &file)? else { continue };
        let of_it = series.entry(database).or_insert_with(|| Series { database, backups: Vec::new() });
        of_it.backups.push(Listed { file, manifest });
    }
    Ok(series.into_values().collect())
}

/// The databases that a name or an id means; all of them where none is given.
pub fn of(target: &dyn Target, wanted: Option<&str>) -> Result<Vec<Series>> {
    let mut series = list(target)?;
    let names: Vec<String> = series.iter().filter_map(|series| series.name().map(str::to_owned)).collect();
    if series.is_empty() {
        let message = format!(
            "there is no finished backup at {}; one that was cut off goes on when it is made again",
            target.url()
        );
        return Err(Error::not_found("db.error/no-backup", message).with("url", target.url()));
    }
    if let Some(wanted) = wanted {
        series.retain(|series| series.name() == Some(wanted) || series.database.to_string() == wanted);
        if series.is_empty() {
            let message =
                format!("there is no backup of {wanted:?} at {}; there is {}", target.url(), names.join(", "));
            return Err(Error::not_found("db.error/no-backup", message).with("url", target.url()));
        }
    }
    Ok(series)
}

/// The one backup that a name or an id and a t mean: the newest where they leave several.
pub fn one(target: &dyn Target, wanted: Option<&str>, t: Option<u64>) -> Result<Manifest> {
    let mut series = of(target, wanted)?;
    let several = series.iter().any(|other| other.name() != series[0].name());
    if several {
        let names: Vec<_> = series.iter().map(|series| series.name().unwrap_or("?")).collect();
        let message =
            format!("there are backups of several databases at {} ({}); say which", target.url(), names.join(", "));
        return Err(Error::incorrect("db.error/which-backup", message));
    }
    // Of databases that had the same name one after the other, the last.
    series.sort_by_key(|series| series.newest().map(|manifest| manifest.at));
    let last = series.last().ok_or_else(|| Error::fault("a series of backups is gone"))?;
    last.at(t).cloned()
}

impl Series {
    /// What the database was called when the newest backup was made.
    pub fn name(&self) -> Option<&str> {
        self.newest().map(|manifest| &*manifest.name)
    }

    /// The newest that can be read.
    fn newest(&self) -> Option<&Manifest> {
        self.backups.iter().rev().find_map(|listed| listed.manifest.as_ref().ok())
    }

    /// The backup of a t, or the newest. One that cannot be read is not passed over.
    pub fn at(&self, t: Option<u64>) -> Result<&Manifest> {
        let is_of = |listed: &&Listed| match (t, &listed.manifest) {
            (None, _) => true,
            (Some(t), Ok(manifest)) => manifest.head.t == t,
            // It is named after its t.
            (Some(t), Err(_)) => listed.file.contains(&format!("/{t:020}-")),
        };
        let listed = self.backups.iter().rev().find(is_of).ok_or_else(|| {
            let there: Vec<_> = self.backups.iter().filter_map(|listed| listed.manifest.as_ref().ok()).collect();
            let there: Vec<_> = there.iter().map(|manifest| manifest.head.t.to_string()).collect();
            let message = format!("there is no backup at t {}; there are at t {}", t.unwrap_or(0), there.join(", "));
            Error::not_found("db.error/no-backup", message)
        })?;
        let again = |error: &Error| Error::new(error.category(), error.code().to_owned(), error.message());
        listed.manifest.as_ref().map_err(again)
    }
}
