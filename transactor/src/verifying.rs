//! Verification of a database that this process has.

use crate::erasing;
use crate::errors::busy;
use crate::garbage::{keeps_beginning, kept_from};
use crate::host::World;
use cache::Reader;
use db::Result;
use db::log::IndexBody;
use storage::{DatabaseId, Head};
use stores::verification::{Subject, Told, Verification, Verified};

/// Holds a database up to a head against itself. Not beside an erasure.
pub fn verify(world: &World, id: DatabaseId, head: Head, told: &Told<'_>) -> Result<Verified> {
    let subject = Subject {
        journal: &*world.journal,
        segments: &*world.segments,
        trees: &|reader: Reader, body: &IndexBody| world.trees(reader, body),
        id,
        head,
        kept_from: &|| kept_from(world, id),
        fork_trees: keeps_beginning(world, id)?,
    };
    check_erasing(world, id, head)?;
    let verified = Verification::new(subject, told).run()?;
    if !verified.faults.is_empty() {
        check_erasing(world, id, head)?;
    }
    Ok(verified)
}

/// While something is erased, and after that, what a value of before names is not whole.
fn check_erasing(world: &World, id: DatabaseId, head: Head) -> Result<()> {
    let is_at_work = erasing::Pod::read(world, id)?.seq().is_some();
    if is_at_work || kept_from(world, id)? > head.index_seq {
        return Err(busy("something is being erased from the database, or was meanwhile; verify it again", 1000));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
