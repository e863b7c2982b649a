//! Rows by column: those of a leaf, and the first rows of a branch's children.
//!
//! ```text
//! rows   = count of groups: varint | of each: attribute's entity: varint, less that of the group before; tag: 1 byte
//!        | unless there is one group, a column of each row's group | column of e | column of from
//!        | in closed lives, a column of to - from | values
//! values = of each group, its values in the order of the rows (see `values`)
//!        | in VAET, which holds refs only, those of all rows
//! ```
//! A group is an attribute and a type of values; groups ascend. Where the attribute leads, rows of a group stand
//! together; in EAVT each attribute's values still make a column of their own, as narrow as they are.

use super::bytes::{Read, Reader, put_varint};
use super::{Attributes, Sort, numbers, values};
use crate::Error;
use crate::error::Result;
use crate::index::Life;
use crate::index::order::{Aevt, Avet, Eavt, Vaet};
use crate::index::tree::Order;
use crate::model::{AttrId, Datom, T, Value, ValueType};
use std::collections::BTreeMap;

/// The most rows or children in a segment; writers stay far below.
pub(super) const COUNT_MAX: usize = 1 << 20;

pub(super) const T_END: u64 = 1 << 42;

/// A row of a tree: an open life or a closed one.
pub trait Row: Clone {
    #[doc(hidden)]
    const CLOSED: bool;

    /// What began the life.
    fn datom(&self) -> &Datom;

    /// What ended it; 0 for an open life.
    fn to(&self) -> T;

    #[doc(hidden)]
    fn made_of(datom: Datom, to: T) -> Self;

    /// Whether rows ascend in the order of the sort.
    #[doc(hidden)]
    fn ascend<'a>(sort: Sort, rows: impl Iterator<Item = &'a Self>) -> bool
    where
        Self: 'a;
}

/// One loop for each sort, so that its comparison is compiled in.
macro_rules! ascend {
    ($sort:ident, $rows:ident, $row:ty) => {
        match $sort {
            Sort::Eavt => $rows.is_sorted_by(|x, y| <Eavt as Order<$row>>::cmp(x, y).is_lt()),
            Sort::Aevt => $rows.is_sorted_by(|x, y| <Aevt as Order<$row>>::cmp(x, y).is_lt()),
            Sort::Avet => $rows.is_sorted_by(|x, y| <Avet as Order<$row>>::cmp(x, y).is_lt()),
            Sort::Vaet => $rows.is_sorted_by(|x, y| <Vaet as Order<$row>>::cmp(x, y).is_lt()),
        }
    };
}

impl Row for Datom {
    const CLOSED: bool = false;

    fn datom(&self) -> &Datom {
        self
    }

    fn to(&self) -> T {
        0
    }

    fn made_of(datom: Datom, _: T) -> Self {
        datom
    }

    fn ascend<'a>(sort: Sort, rows: impl Iterator<Item = &'a Self>) -> bool {
        ascend!(sort, rows, Datom)
    }
}

impl Row for Life {
    const CLOSED: bool = true;

    fn datom(&self) -> &Datom {
        &self.datom
    }

    fn to(&self) -> T {
        self.to
    }

    fn made_of(datom: Datom, to: T) -> Self {
        Life { datom, to }
    }

    fn ascend<'a>(sort: Sort, rows: impl Iterator<Item = &'a Self>) -> bool {
        ascend!(sort, rows, Life)
    }
}

/// Writes rows that a segment may hold; others are a fault of the writer.
pub(super) fn put<R: Row>(bytes: &mut Vec<u8>, sort: Sort, rows: &[&R], attributes: &Attributes) -> Result<()> {
    if !R::ascend(sort, rows.iter().copied()) {
        return Err(Error::fault(format!("rows of a segment do not ascend in {}", sort.name())));
    }
    if let Some(row) = rows.iter().find(|row| R::CLOSED && row.to() <= row.datom().t() || !row.datom().added()) {
        return Err(Error::fault(format!("{:?} until {} is no life", row.datom(), row.to())));
    }
    let mut groups: BTreeMap<(AttrId, ValueType), Vec<&Value>> = BTreeMap::new();
    // Rows of a group mostly follow one another.
    for run in rows.chunk_by(|x, y| group_of(*x) == group_of(*y)) {
        let values = groups.entry(group_of(run[0])).or_default();
        values.extend(run.iter().map(|row| &row.datom().v));
    }
    put_varint(bytes, groups.len() as u64);
    let mut before = 0;
    for (a, value_type) in groups.keys() {
        let entity = attributes.entity(*a).ok_or_else(|| Error::fault(format!("{a:?} is not among the attributes")))?;
        put_varint(bytes, entity.as_u64() - before);
        bytes.push(values::tag(*value_type));
        before = entity.as_u64();
        if sort == Sort::Vaet && *value_type != ValueType::Ref {
            return Err(Error::fault(format!("VAET holds refs, not a {}", value_type.name())));
        }
    }
    if groups.len() > 1 {
        let places: BTreeMap<(AttrId, ValueType), i64> = groups.keys().copied().zip(0..).collect();
        numbers::put(bytes, &rows.iter().map(|row| places[&group_of(*row)]).collect::<Vec<_>>());
    }
    numbers::put(bytes, &rows.iter().map(|row| row.datom().e.as_long()).collect::<Vec<_>>());
    numbers::put(bytes, &rows.iter().map(|row| row.datom().t() as i64).collect::<Vec<_>>());
    if R::CLOSED {
        numbers::put(bytes, &rows.iter().map(|row| (row.to() - row.datom().t()) as i64).collect::<Vec<_>>());
    }
    if sort == Sort::Vaet {
        return values::put(bytes, ValueType::Ref, &rows.iter().map(|row| &row.datom().v).collect::<Vec<_>>());
    }
    groups.into_iter().try_for_each(|((_, value_type), group)| values::put(bytes, value_type, &group))
}

fn group_of<R: Row>(row: &R) -> (AttrId, ValueType) {
    let datom = row.datom();
    (datom.a(), datom.v.value_type())
}

/// Reads so many rows, and sees that they ascend.
pub(super) fn read<R: Row>(reader: &mut Reader<'_>, sort: Sort, count: usize, attributes: &Attributes) -> Read<Vec<R>> {
    let groups = read_groups(reader, count, attributes)?;
    let places = if groups.len() == 1 { None } else { Some(numbers::read(reader, count)?) };
    let mut lengths = vec![0; groups.len()];
    match &places {
        None => lengths[0] = count,
        Some(places) => {
            for place in places {
                let length = usize::try_from(*place).ok().and_then(|place| lengths.get_mut(place));
                *length.ok_or_else(|| format!("a row is of group {place} of {}", groups.len()))? += 1;
            }
        }
    }
    let entities = numbers::read(reader, count)?;
    let from = numbers::read(reader, count)?;
    let lasting = if R::CLOSED { numbers::read(reader, count)? } else { Vec::new() };
    if entities.iter().any(|e| *e < 0) || from.iter().any(|t| *t as u64 >= T_END) {
        return Err("an entity id has 63 bits and a t has 42".into());
    }
    if lasting.iter().zip(&from).any(|(lasting, from)| *lasting < 1 || from.saturating_add(*lasting) as u64 >= T_END) {
        return Err("a life ends before it began, or after every t".into());
    }
    let mut rows: Vec<R> = Vec::with_capacity(count);
    let row = |at: usize, a: AttrId, v: Value| {
        // Checked above.
        let e = crate::model::EntityId::from_long(entities[at]).unwrap_or_default();
        let from = from[at] as u64;
        R::made_of(Datom::new(e, a, v, from, true), lasting.get(at).map_or(0, |lasting| from + *lasting as u64))
    };
    if sort == Sort::Vaet {
        if groups.iter().any(|(_, value_type)| *value_type != ValueType::Ref) {
            return Err("VAET holds refs only".into());
        }
        let refs = values::read(reader, ValueType::Ref, count)?;
        let a = |at: usize| groups[places.as_ref().map_or(0, |places| places[at] as usize)].0;
        rows.extend(refs.into_iter().enumerate().map(|(at, v)| row(at, a(at), v)));
    } else {
        let mut columns = Vec::with_capacity(groups.len());
        for ((a, value_type), length) in groups.iter().zip(lengths) {
            columns.push((*a, values::read(reader, *value_type, length)?.into_iter()));
        }
        match &places {
            None => {
                let (a, column) = columns.swap_remove(0);
                rows.extend(column.enumerate().map(|(at, v)| row(at, a, v)));
            }
            Some(places) => rows.extend(places.iter().enumerate().filter_map(|(at, place)| {
                let (a, column) = &mut columns[*place as usize];
                column.next().map(|v| row(at, *a, v))
            })),
        }
    }
    if !R::ascend(sort, rows.iter()) {
        return Err(format!("its rows do not ascend in {}", sort.name()).into());
    }
    Ok(rows)
}

fn read_groups(reader: &mut Reader<'_>, count: usize, attributes: &Attributes) -> Read<Vec<(AttrId, ValueType)>> {
    let of_groups = reader.count(count.min(reader.len()))?;
    if of_groups == 0 {
        return Err("it has rows and no attribute".into());
    }
    let mut groups = Vec::with_capacity(of_groups);
    let mut entity = 0u64;
    for _ in 0..of_groups {
        entity = entity
            .checked_add(reader.varint()?)
            .filter(|e| i64::try_from(*e).is_ok())
            .ok_or("an entity id has 63 bits")?;
        let value_type = values::type_of(reader.byte()?)?;
        let a = attributes.number(values::entity(entity as i64)?);
        let a = a.ok_or_else(|| format!("it speaks of attribute {entity}, which is not in the schema"))?;
        groups.push((a, value_type));
    }
    if !groups.is_sorted_by(|x, y| x < y) {
        return Err("its attributes do not ascend".into());
    }
    Ok(groups)
}
