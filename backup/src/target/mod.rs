//! Where backups go: files with names, written whole or not at all.

mod directory;
#[cfg(feature = "s3")]
mod s3;

use db::{Error, Result};
use directory::Directory;
use std::sync::Arc;

/// A place that holds backups. Its methods block, and many threads may call them at once.
pub trait Target: Send + Sync {
    /// As it was named, without anything secret.
    fn url(&self) -> &str;

    /// Puts a file: whole, or not at all; one that is there is replaced. Durable when [`Target::settle`] returns.
    fn put(&self, file: &str, bytes: &[u8]) -> Result<()>;

    /// Returns when all that was put is durable.
    fn settle(&self) -> Result<()>;

    /// A file's bytes; None if there is none. One that is longer than `bytes_max` is an error.
    fn get(&self, file: &str, bytes_max: u64) -> Result<Option<Vec<u8>>>;

    /// Tells of each file below a folder, which ends in `/` or is empty: its name and its length, in any order.
    fn list(&self, folder: &str, each: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()>;
}

/// What is to be known of a target beside its URL.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub s3: S3Options,
}

/// How S3 is reached, where it is not said by the environment (`AWS_…`).
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// `http://HOST:PORT` or `https://…`: a server that is not Amazon's.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Also `http` to another machine, where everybody on the way may read it.
    pub allow_http: bool,
}

/// Opens `file:DIR`, a path, or `s3://BUCKET/PREFIX`. Nothing is made yet.
pub fn open(url: &str, options: &Options) -> Result<Arc<dyn Target>> {
    let invalid = |why: &str| {
        let message = format!("{url:?} names no place for backups{why}; give file:DIR, a path, or s3://BUCKET/PREFIX");
        Error::incorrect("db.error/backup-url", message)
    };
    if let Some(dir) = url.strip_prefix("file:") {
        let dir = match dir.strip_prefix("//") {
            Some(path) if path.starts_with('/') => path,
            Some(_) => return Err(invalid(" (a host is not spoken to: file:///DIR has three slashes)")),
            None => dir,
        };
        return match dir {
            "" => Err(invalid("")),
            dir => Ok(Arc::new(Directory::new(dir)?)),
        };
    }
    if let Some(place) = url.strip_prefix("s3://") {
        return s3(url, place, &options.s3);
    }
    match url.split_once("://") {
        Some((scheme, _)) => Err(invalid(&format!(" ({scheme:?} is not known)"))),
        None if url.is_empty() => Err(invalid("")),
        None => Ok(Arc::new(Directory::new(url)?)),
    }
}

#[cfg(feature = "s3")]
fn s3(url: &str, place: &str, options: &S3Options) -> Result<Arc<dyn Target>> {
    Ok(Arc::new(s3::S3::new(url, place, options)?))
}

#[cfg(not(feature = "s3"))]
fn s3(url: &str, _: &str, _: &S3Options) -> Result<Arc<dyn Target>> {
    let message = format!("{url:?}: this program was built without S3; build it with the feature `s3`");
    Err(Error::unsupported("db.error/backup-url", message))
}
