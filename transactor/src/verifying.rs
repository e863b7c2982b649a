//! Verification of a database that this process has.

use crate::garbage::kept_from;
use crate::host::World;
use cache::Reader;
use db::Result;
use db::log::IndexBody;
use storage::{DatabaseId, Head};
use stores::verification::{Subject, Told, Verification, Verified};

/// Holds a database up to a head against itself.
pub fn verify(world: &World, id: DatabaseId, head: Head, told: &Told<'_>) -> Result<Verified> {
    let subject = Subject {
        journal: &*world.journal,
        segments: &*world.segments,
        trees: &|reader: Reader, body: &IndexBody| world.trees(reader, body),
        id,
        head,
        kept_from: &|| kept_from(world, id),
    };
    Verification::new(subject, told).run()
}

#[cfg(test)]
mod tests;
