//! A place in an index: the leading components of a sort, as users give them.

use super::Db;
use crate::edn::Edn;
use crate::index::{Component, Sort};
use crate::model::{AttrId, Datom, EntityId, T, Value};
use crate::schema::Attribute;
use crate::{Error, Result};
use std::cmp::Ordering;

/// The leading components of a sort, up to all four. A datom stands before it, beyond it, or begins with it; every
/// datom begins with the empty place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub e: Option<EntityId>,
    pub a: Option<AttrId>,
    pub v: Option<Value>,
    pub t: Option<T>,
}

impl Place {
    /// Where a datom stands in a sort's first `depth` components: before the place, in it, or beyond.
    pub(super) fn position(&self, sort: Sort, depth: usize, datom: &Datom) -> Ordering {
        for component in &sort.components()[..depth] {
            let order = match component {
                Component::E => self.e.map(|e| datom.e.cmp(&e)),
                Component::A => self.a.map(|a| datom.a().cmp(&a)),
                Component::V => self.v.as_ref().map(|v| datom.v.cmp(v)),
                Component::T => self.t.map(|t| datom.t().cmp(&t)),
            };
            match order {
                Some(Ordering::Equal) => {}
                Some(unequal) => return unequal,
                None => return Ordering::Equal,
            }
        }
        Ordering::Equal
    }

    /// How many components it has.
    pub(super) fn len(&self, sort: Sort) -> usize {
        let is_given = |component: &Component| match component {
            Component::E => self.e.is_some(),
            Component::A => self.a.is_some(),
            Component::V => self.v.is_some(),
            Component::T => self.t.is_some(),
        };
        sort.components().iter().take_while(|component| is_given(component)).count()
    }
}

impl From<&Datom> for Place {
    fn from(datom: &Datom) -> Self {
        Place { e: Some(datom.e), a: Some(datom.a()), v: Some(datom.v.clone()), t: Some(datom.t()) }
    }
}

impl Db {
    /// Reads the leading components of a sort: entities and attributes by id, ident or lookup ref, values as the
    /// attribute has them, transactions by t, entity id or instant. AVET has indexed and unique attributes only, VAET
    /// references only: others are refused, since to find nothing there would mislead.
    pub fn place(&self, sort: Sort, components: &[Edn]) -> Result<Place> {
        if components.len() > 4 {
            let message = format!(
                "{} components were given; {} has four, of which the first ones may be given",
                components.len(),
                sort.name()
            );
            return Err(Error::incorrect("db.error/invalid-components", message));
        }
        let mut place = Place::default();
        for (component, form) in sort.components().into_iter().zip(components) {
            match component {
                Component::E => place.e = Some(self.require_entity(form)?),
                Component::A => {
                    let a = self.require_attribute(form)?;
                    self.require_in(sort, a)?;
                    place.a = Some(a);
                }
                Component::V => {
                    place.v = Some(match place.a {
                        Some(a) => self.require_value(a, form)?,
                        // Of VAET, which holds references.
                        None => Value::Ref(self.require_entity(form)?),
                    });
                }
                Component::T => place.t = Some(self.t_at(self.time_point(form)?)?),
            }
        }
        Ok(place)
    }

    /// Refuses an attribute whose datoms a sort does not hold.
    pub fn require_in(&self, sort: Sort, a: AttrId) -> Result<()> {
        let attribute = self.schema().attribute(a);
        let Attribute { ident, .. } = attribute;
        let refused = match sort {
            Sort::Avet if !attribute.has_avet() => Error::incorrect(
                "db.error/not-indexed",
                format!("{ident} is not in AVET, which has attributes with :db/index or :db/unique; read it in AEVT"),
            ),
            Sort::Vaet if !attribute.is_ref() => Error::incorrect(
                "db.error/not-a-reference",
                format!("{ident} is not in VAET, which has references only; read it in AVET or AEVT"),
            ),
            _ => return Ok(()),
        };
        Err(refused.with("attribute", ident.clone()))
    }
}
