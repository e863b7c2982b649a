//! The four sorts, of open and of closed lives, and the part of a sort that a read wants.

use super::tree::Order;
use crate::model::{AttrId, Datom, EntityId, T, Value};
use std::cmp::Ordering;
use std::ops::Bound;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sort {
    Eavt,
    Aevt,
    Avet,
    Vaet,
}

/// A closed life: the datom that began it, and the t that ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    pub datom: Datom,
    pub to: T,
}

/// A part of a datom, as sorts are made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    E,
    A,
    V,
    T,
}

pub(crate) struct Eavt;
pub(crate) struct Aevt;
pub(crate) struct Avet;
pub(crate) struct Vaet;

impl Order<Datom> for Eavt {
    fn cmp(x: &Datom, y: &Datom) -> Ordering {
        x.e.cmp(&y.e).then(x.a().cmp(&y.a())).then_with(|| x.v.cmp(&y.v))
    }
}

impl Order<Datom> for Aevt {
    fn cmp(x: &Datom, y: &Datom) -> Ordering {
        x.a().cmp(&y.a()).then(x.e.cmp(&y.e)).then_with(|| x.v.cmp(&y.v))
    }
}

impl Order<Datom> for Avet {
    fn cmp(x: &Datom, y: &Datom) -> Ordering {
        x.a().cmp(&y.a()).then_with(|| x.v.cmp(&y.v)).then(x.e.cmp(&y.e))
    }
}

impl Order<Datom> for Vaet {
    fn cmp(x: &Datom, y: &Datom) -> Ordering {
        x.v.cmp(&y.v).then(x.a().cmp(&y.a())).then(x.e.cmp(&y.e))
    }
}

impl Order<Life> for Eavt {
    fn cmp(x: &Life, y: &Life) -> Ordering {
        let (d, o) = (&x.datom, &y.datom);
        d.e.cmp(&o.e).then(d.a().cmp(&o.a())).then(x.to.cmp(&y.to)).then_with(|| d.v.cmp(&o.v))
    }
}

impl Order<Life> for Aevt {
    fn cmp(x: &Life, y: &Life) -> Ordering {
        let (d, o) = (&x.datom, &y.datom);
        d.a().cmp(&o.a()).then(d.e.cmp(&o.e)).then(x.to.cmp(&y.to)).then_with(|| d.v.cmp(&o.v))
    }
}

impl Order<Life> for Avet {
    fn cmp(x: &Life, y: &Life) -> Ordering {
        let (d, o) = (&x.datom, &y.datom);
        d.a().cmp(&o.a()).then_with(|| d.v.cmp(&o.v)).then(x.to.cmp(&y.to)).then(d.e.cmp(&o.e))
    }
}

impl Order<Life> for Vaet {
    fn cmp(x: &Life, y: &Life) -> Ordering {
        let (d, o) = (&x.datom, &y.datom);
        d.v.cmp(&o.v).then(d.a().cmp(&o.a())).then(x.to.cmp(&y.to)).then(d.e.cmp(&o.e))
    }
}

impl Sort {
    pub const ALL: [Sort; 4] = [Sort::Eavt, Sort::Aevt, Sort::Avet, Sort::Vaet];

    /// The components in the order in which this sort compares them.
    pub const fn components(self) -> [Component; 4] {
        use Component::{A, E, T, V};
        match self {
            Sort::Eavt => [E, A, V, T],
            Sort::Aevt => [A, E, V, T],
            Sort::Avet => [A, V, E, T],
            Sort::Vaet => [V, A, E, T],
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Sort::Eavt => "EAVT",
            Sort::Aevt => "AEVT",
            Sort::Avet => "AVET",
            Sort::Vaet => "VAET",
        }
    }

    /// The order of the two leading components, after which `to` stands in history.
    #[inline]
    pub fn cmp_group(self, x: &Datom, y: &Datom) -> Ordering {
        match self {
            Sort::Eavt => x.e.cmp(&y.e).then(x.a().cmp(&y.a())),
            Sort::Aevt => x.a().cmp(&y.a()).then(x.e.cmp(&y.e)),
            Sort::Avet => x.a().cmp(&y.a()).then_with(|| x.v.cmp(&y.v)),
            Sort::Vaet => x.v.cmp(&y.v).then(x.a().cmp(&y.a())),
        }
    }

    /// The order of this sort between two datoms.
    pub fn cmp(self, x: &Datom, y: &Datom) -> Ordering {
        match self {
            Sort::Eavt => Eavt::cmp(x, y),
            Sort::Aevt => Aevt::cmp(x, y),
            Sort::Avet => Avet::cmp(x, y),
            Sort::Vaet => Vaet::cmp(x, y),
        }
    }
}

/// What a read wants of each component. A sort turns as many of them as it can into one contiguous range
/// (`Bounds::position`); the rest is checked row by row ([`Bounds::admits`]).
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    pub e: Option<EntityId>,
    pub a: Option<AttrId>,
    pub v: ValueRange<'a>,
}

/// Which values a read wants, in the order of the index.
#[derive(Clone, Copy, Debug)]
pub enum ValueRange<'a> {
    Any,
    Is(&'a Value),
    Between(Bound<&'a Value>, Bound<&'a Value>),
}

impl ValueRange<'_> {
    #[inline]
    fn position(&self, v: &Value) -> Ordering {
        match self {
            ValueRange::Any => Ordering::Equal,
            ValueRange::Is(value) => v.cmp(value),
            ValueRange::Between(low, high) => {
                let below = match low {
                    Bound::Included(low) => v < low,
                    Bound::Excluded(low) => v <= low,
                    Bound::Unbounded => false,
                };
                let above = match high {
                    Bound::Included(high) => v > high,
                    Bound::Excluded(high) => v >= high,
                    Bound::Unbounded => false,
                };
                if below {
                    Ordering::Less
                } else if above {
                    Ordering::Greater
                } else {
                    Ordering::Equal
                }
            }
        }
    }
}

impl Bounds<'_> {
    /// The sort that turns most of these bounds into a range. `has_avet`: AVET covers the attribute.
    pub fn sort(&self, has_avet: bool) -> Sort {
        let reference = matches!(self.v, ValueRange::Is(Value::Ref(_)));
        match (self.e, self.a, &self.v) {
            (Some(_), ..) => Sort::Eavt,
            (None, Some(_), ValueRange::Is(_)) if has_avet => Sort::Avet,
            (None, _, ValueRange::Is(_)) if reference => Sort::Vaet,
            (None, Some(_), ValueRange::Between(..)) if has_avet => Sort::Avet,
            (None, Some(_), _) => Sort::Aevt,
            (None, None, _) => Sort::Eavt,
        }
    }

    /// Whether the range of `Bounds::position` in this sort holds nothing that [`Bounds::admits`] refuses.
    pub fn is_exact(&self, sort: Sort) -> bool {
        let any_v = matches!(self.v, ValueRange::Any);
        let is_v = matches!(self.v, ValueRange::Is(_));
        match sort {
            Sort::Eavt if self.e.is_none() => self.a.is_none() && any_v,
            Sort::Eavt => self.a.is_some() || any_v,
            Sort::Aevt => any_v || self.e.is_some(),
            Sort::Avet => is_v || self.e.is_none(),
            Sort::Vaet => self.a.is_some() || self.e.is_none(),
        }
    }

    /// Whether a datom satisfies every bound.
    #[inline]
    pub fn admits(&self, datom: &Datom) -> bool {
        self.e.is_none_or(|e| e == datom.e)
            && self.a.is_none_or(|a| a == datom.a())
            && self.v.position(&datom.v) == Ordering::Equal
    }

    /// Where a row of the sort stands to the range: before it, inside, or beyond.
    #[inline]
    pub(crate) fn position(&self, sort: Sort, datom: &Datom) -> Ordering {
        match sort {
            Sort::Eavt => {
                self.at_e(datom).then_with(|| self.at_a_below_e(datom)).then_with(|| self.at_v_below_ea(datom))
            }
            Sort::Aevt => self.at_a(datom).then_with(|| self.at_e(datom)).then_with(|| self.at_v_below_ea(datom)),
            Sort::Avet => {
                self.at_a(datom).then_with(|| self.v.position(&datom.v)).then_with(|| self.at_e_below_v(datom))
            }
            Sort::Vaet => self
                .v
                .position(&datom.v)
                .then_with(|| self.at_a(datom))
                .then_with(|| if self.a.is_some() { self.at_e(datom) } else { Ordering::Equal }),
        }
    }

    /// Where a row stands by the two leading components of the sort, which order closed lives.
    #[inline]
    pub(crate) fn group_position(&self, sort: Sort, datom: &Datom) -> Ordering {
        match sort {
            Sort::Eavt => self.at_e(datom).then_with(|| self.at_a_below_e(datom)),
            Sort::Aevt => self.at_a(datom).then_with(|| self.at_e(datom)),
            Sort::Avet => self.at_a(datom).then_with(|| self.v.position(&datom.v)),
            Sort::Vaet => self.v.position(&datom.v).then_with(|| self.at_a(datom)),
        }
    }

    /// Where a closed life stands to those in force at `as_of`, or to all of them.
    #[inline]
    pub(crate) fn position_of_life(&self, sort: Sort, life: &Life, as_of: Option<T>) -> Ordering {
        let is_v = matches!(self.v, ValueRange::Is(_));
        let to_follows = match sort {
            Sort::Eavt | Sort::Aevt => self.e.is_some() && self.a.is_some(),
            Sort::Avet => is_v,
            Sort::Vaet => self.a.is_some(),
        };
        self.group_position(sort, &life.datom).then_with(|| match as_of {
            Some(t) if to_follows && life.to <= t => Ordering::Less,
            _ => Ordering::Equal,
        })
    }

    #[inline]
    fn at_e(&self, datom: &Datom) -> Ordering {
        self.e.map_or(Ordering::Equal, |e| datom.e.cmp(&e))
    }

    #[inline]
    fn at_a(&self, datom: &Datom) -> Ordering {
        self.a.map_or(Ordering::Equal, |a| datom.a().cmp(&a))
    }

    #[inline]
    fn at_a_below_e(&self, datom: &Datom) -> Ordering {
        if self.e.is_some() { self.at_a(datom) } else { Ordering::Equal }
    }

    #[inline]
    fn at_v_below_ea(&self, datom: &Datom) -> Ordering {
        if self.e.is_some() && self.a.is_some() { self.v.position(&datom.v) } else { Ordering::Equal }
    }

    #[inline]
    fn at_e_below_v(&self, datom: &Datom) -> Ordering {
        if matches!(self.v, ValueRange::Is(_)) { self.at_e(datom) } else { Ordering::Equal }
    }
}
