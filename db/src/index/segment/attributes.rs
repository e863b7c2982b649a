//! Attributes between their numbers in a process and their entities on disk.

use crate::model::{AttrId, EntityId};

/// The entities of a schema's attributes, in the order of their numbers, which is that of the entities.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<EntityId>);

impl Attributes {
    /// Entities in ascending order.
    pub fn new(entities: impl IntoIterator<Item = EntityId>) -> Self {
        let entities: Vec<EntityId> = entities.into_iter().collect();
        debug_assert!(entities.is_sorted_by(|x, y| x < y));
        Attributes(entities)
    }

    pub fn entity(&self, a: AttrId) -> Option<EntityId> {
        self.0.get(a.0 as usize).copied()
    }

    pub fn number(&self, entity: EntityId) -> Option<AttrId> {
        self.0.binary_search(&entity).ok().map(|at| AttrId(at as u32))
    }
}
