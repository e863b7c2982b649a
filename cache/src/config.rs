//! What the cache may take, as settings of the process that has it. docs/operations.md tells them.

use std::path::PathBuf;

/// What every process with a cache can set.
#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub struct Options {
    /// The most bytes of decoded segments kept on the heap, for all databases together.
    #[arg(long, env = "DIACHRON_CACHE_BYTES", value_name = "BYTES", default_value_t = Options::default().cache_bytes, value_parser = clap::value_parser!(u64).range(HEAP_BYTES_MIN..))]
    pub cache_bytes: u64,

    /// Segments fetched at once ahead of scans; 0 fetches none ahead.
    #[arg(long, env = "DIACHRON_CACHE_PREFETCH", value_name = "COUNT", default_value_t = Options::default().cache_prefetch, value_parser = clap::value_parser!(u32).range(..=256))]
    pub cache_prefetch: u32,

    /// Segments that wait to be fetched ahead; scans that say more are not heard.
    #[arg(long, env = "DIACHRON_CACHE_PREFETCH_QUEUE", value_name = "COUNT", default_value_t = Options::default().cache_prefetch_queue, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub cache_prefetch_queue: u32,
}

/// What a process can set that keeps segments on local disk too.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct DiskOptions {
    /// A directory of this process alone for encoded segments, which survive a restart. None are kept on disk when
    /// not given.
    #[arg(long, env = "DIACHRON_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,

    /// The most bytes the directory may take.
    #[arg(long, env = "DIACHRON_CACHE_DISK_BYTES", value_name = "BYTES", default_value_t = DISK_BYTES, value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub cache_disk_bytes: u64,

    /// Nothing is added to the directory while its file system has fewer bytes free than this.
    #[arg(long, env = "DIACHRON_CACHE_DISK_FREE_BYTES", value_name = "BYTES", default_value_t = DISK_FREE_BYTES)]
    pub cache_disk_free_bytes: u64,
}

/// Fewer hold not even the path to a leaf.
const HEAP_BYTES_MIN: u64 = 1 << 20;
const DISK_BYTES: u64 = 4 << 30;
/// A store that may lie on the same file system refuses transactions below a quarter of this.
const DISK_FREE_BYTES: u64 = 1 << 30;

/// What a cache may take.
#[derive(Clone, Debug)]
pub struct Config {
    /// Decoded segments, those fetched ahead included.
    pub heap_bytes: u64,
    /// Segments fetched ahead at once: how many actors run [`crate::SegmentCache::prefetch`]. With 0, hints are not
    /// listened to.
    pub prefetch: usize,
    pub prefetch_queue: usize,
    pub disk: Option<Disk>,
}

/// The tier on local disk.
#[derive(Clone, Debug)]
pub struct Disk {
    pub dir: PathBuf,
    /// Files, each rounded up to blocks of 4 KiB.
    pub bytes: u64,
    /// What is left free on the file system.
    pub free_bytes_min: u64,
    /// The one lineage that the directory is for; None when databases of any lineage share it.
    pub lineage: Option<db::log::DatabaseId>,
}

impl Default for Options {
    fn default() -> Self {
        Options { cache_bytes: 256 << 20, cache_prefetch: 4, cache_prefetch_queue: 256 }
    }
}

impl From<&DiskOptions> for Option<Disk> {
    fn from(options: &DiskOptions) -> Self {
        options.cache_dir.as_ref().map(|dir| Disk {
            dir: dir.clone(),
            bytes: options.cache_disk_bytes,
            free_bytes_min: options.cache_disk_free_bytes,
            lineage: None,
        })
    }
}

impl Config {
    pub fn new(options: &Options, disk: Option<Disk>) -> Config {
        Config {
            heap_bytes: options.cache_bytes,
            prefetch: options.cache_prefetch as usize,
            prefetch_queue: options.cache_prefetch_queue as usize,
            disk,
        }
    }
}

impl Default for Config {
    /// The heap alone.
    fn default() -> Self {
        Config::new(&Options::default(), None)
    }
}
