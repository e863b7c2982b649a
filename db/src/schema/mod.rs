//! The schema: what is known of attributes, read from the datoms that install them.

mod attribute;
mod bootstrap;

pub use attribute::{Attribute, Cardinality, Unique};
pub(crate) use bootstrap::system_idents;
pub use bootstrap::{FIRST_USER_COUNTER, bootstrap_datoms, ids};

use crate::index::segment::Attributes;
use crate::model::{AttrId, EntityId, Keyword, Value};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The attributes of a database, by number, entity and ident. Immutable; an installation makes a new one.
///
/// Invariant: attributes stand in the order of their entity ids, so that an index sorted by [`AttrId`] is sorted
/// by entity id. That holds because only entities made in the same transaction become attributes.
#[derive(Clone, Default)]
pub struct Schema {
    attributes: Vec<Arc<Attribute>>,
    by_entity: FxHashMap<EntityId, AttrId>,
    by_ident: FxHashMap<Keyword, AttrId>,
}

impl Schema {
    /// A schema of attributes in the order of their entity ids.
    pub fn from_attributes(attributes: impl IntoIterator<Item = Attribute>) -> Schema {
        let mut schema = Schema::default();
        attributes.into_iter().for_each(|attribute| schema.put(attribute));
        schema
    }

    /// The attribute of a number this schema gave out.
    pub fn attribute(&self, a: AttrId) -> &Attribute {
        &self.attributes[a.0 as usize]
    }

    pub fn attr_of_entity(&self, e: EntityId) -> Option<AttrId> {
        self.by_entity.get(&e).copied()
    }

    pub fn attr_of_ident(&self, ident: &Keyword) -> Option<AttrId> {
        self.by_ident.get(ident).copied()
    }

    /// All attributes in the order of their numbers.
    pub fn attributes(&self) -> impl ExactSizeIterator<Item = (AttrId, &Attribute)> {
        self.attributes.iter().enumerate().map(|(i, attribute)| (AttrId(i as u32), &**attribute))
    }

    /// The attributes' entities, by which index segments name them.
    pub fn entities(&self) -> Attributes {
        Attributes::new(self.attributes.iter().map(|attribute| attribute.id))
    }

    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// Adds a new attribute, or takes over the changed definition of one that is known by its entity.
    pub(crate) fn put(&mut self, attribute: Attribute) {
        let a = match self.by_entity.get(&attribute.id) {
            Some(a) => {
                self.by_ident.remove(&self.attributes[a.0 as usize].ident);
                *a
            }
            None => {
                debug_assert!(self.attributes.last().is_none_or(|last| last.id < attribute.id));
                AttrId(self.attributes.len() as u32)
            }
        };
        self.by_entity.insert(attribute.id, a);
        self.by_ident.insert(attribute.ident.clone(), a);
        let attribute = Arc::new(attribute);
        match self.attributes.get_mut(a.0 as usize) {
            Some(slot) => *slot = attribute,
            None => self.attributes.push(attribute),
        }
    }

    /// The attribute that an entity's facts define; None where they define none.
    pub(crate) fn define(id: EntityId, fact: impl Fn(EntityId) -> Option<Value>) -> Option<Attribute> {
        Attribute::from_facts(id, fact)
    }
}
