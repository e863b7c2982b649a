//! What a process must know of a database before it reads its trees: attributes, what AVET covers, statistics.
//!
//! ```text
//! meta = columns of each attribute's entity, of its type's tag, of its flags | idents, as keywords of a leaf
//!      | column of AVET coverage: 0 none, else 1 + the t since which | column of open lives
//!      | HyperLogLog registers, 128 bytes of each attribute
//! flags: bit 0 many, 1 unique identity, 2 unique value, 3 index, 4 component, 5 no history
//! ```
//! The header's count is that of attributes; they ascend by entity, and there is no sort.

use super::bytes::{Read, Reader};
use super::envelope::{self, Kind, damaged};
use super::rows::T_END;
use super::{SegmentId, numbers, read_named, values};
use crate::Error;
use crate::error::Result;
use crate::index::stats::{REGISTER_MAX, REGISTERS, Stats};
use crate::model::{AttrId, EntityId, T, Value, ValueType};
use crate::schema::{Attribute, Cardinality, Schema, Unique};

/// The meta segment of an index: all attributes, in the order of their numbers, and their statistics by number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    pub attributes: Vec<MetaAttribute>,
    pub stats: Stats,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaAttribute {
    pub attribute: Attribute,
    /// The t since which AVET has had its facts; None where AVET does not cover it. Plans trust this, not the flag.
    pub avet_since: Option<T>,
}

const MANY: i64 = 1;
const IDENTITY: i64 = 2;
const UNIQUE_VALUE: i64 = 4;
const INDEX: i64 = 8;
const COMPONENT: i64 = 16;
const NO_HISTORY: i64 = 32;

impl Meta {
    pub fn schema(&self) -> Schema {
        Schema::from_attributes(self.attributes.iter().map(|meta| meta.attribute.clone()))
    }

    /// The bytes of the segment. Attributes that do not ascend are a fault.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let attributes = || self.attributes.iter().map(|meta| &meta.attribute);
        if attributes().len() >= AttrId::COUNT_MAX as usize || !attributes().is_sorted_by(|x, y| x.id < y.id) {
            return Err(Error::fault("the attributes of a meta segment do not ascend, or are too many"));
        }
        let mut plain = Vec::new();
        let mut column = |numbers: Vec<i64>| numbers::put(&mut plain, &numbers);
        column(attributes().map(|attribute| attribute.id.as_long()).collect());
        column(attributes().map(|attribute| i64::from(values::tag(attribute.value_type))).collect());
        column(attributes().map(flags).collect());
        let idents: Vec<Value> = attributes().map(|attribute| Value::Keyword(attribute.ident.clone())).collect();
        values::put(&mut plain, ValueType::Keyword, &idents.iter().collect::<Vec<_>>())?;
        let since = |meta: &MetaAttribute| meta.avet_since.map_or(0, |t| t as i64 + 1);
        numbers::put(&mut plain, &self.attributes.iter().map(since).collect::<Vec<_>>());
        let stats = || (0..self.attributes.len()).map(|a| self.stats.parts(AttrId(a as u32)));
        numbers::put(&mut plain, &stats().map(|stats| stats.map_or(0, |(rows, _)| rows as i64)).collect::<Vec<_>>());
        stats().for_each(|stats| plain.extend_from_slice(stats.map_or(&[0; REGISTERS], |(_, registers)| registers)));
        envelope::seal(Kind::Meta, None, self.attributes.len(), &plain)
    }

    pub fn decode(bytes: &[u8]) -> Result<Meta> {
        let envelope::Opened { kind, count, plain, .. } = envelope::open(bytes)?;
        if kind != Kind::Meta {
            return Err(damaged("it is no meta segment"));
        }
        if count > plain.len() / REGISTERS {
            return Err(damaged(format!("it tells of {count} attributes in {} bytes", plain.len())));
        }
        read(&mut Reader::new(&plain), count).map_err(damaged)
    }

    /// Reads the segment that the name stands for: bytes of another hash are damage. Errors name it.
    pub fn read(id: &SegmentId, bytes: &[u8]) -> Result<Meta> {
        read_named(id, bytes, Meta::decode)
    }
}

fn flags(attribute: &Attribute) -> i64 {
    let flag = |set: bool, bit: i64| if set { bit } else { 0 };
    flag(attribute.is_many(), MANY)
        | flag(attribute.unique == Some(Unique::Identity), IDENTITY)
        | flag(attribute.unique == Some(Unique::Value), UNIQUE_VALUE)
        | flag(attribute.index, INDEX)
        | flag(attribute.component, COMPONENT)
        | flag(attribute.no_history, NO_HISTORY)
}

fn read(reader: &mut Reader<'_>, count: usize) -> Read<Meta> {
    let entities = numbers::read(reader, count)?;
    let tags = numbers::read(reader, count)?;
    let flags = numbers::read(reader, count)?;
    let idents = values::read(reader, ValueType::Keyword, count)?;
    let since = numbers::read(reader, count)?;
    let rows = numbers::read(reader, count)?;
    let mut meta = Meta::default();
    for (at, ident) in idents.into_iter().enumerate() {
        let Value::Keyword(ident) = ident else { return Err("an ident is no keyword".into()) };
        let tag = u8::try_from(tags[at]).map_err(|_| "a type's tag has one byte")?;
        let attribute = attribute(values::entity(entities[at])?, ident, values::type_of(tag)?, flags[at])?;
        let since = u64::try_from(since[at]).ok().filter(|since| *since <= T_END).ok_or("a t has 42 bits")?;
        meta.attributes.push(MetaAttribute { attribute, avet_since: since.checked_sub(1) });
        let rows = u64::try_from(rows[at]).map_err(|_| "an attribute has less than no rows")?;
        let registers: [u8; REGISTERS] = reader.array()?;
        if registers.iter().any(|register| *register > REGISTER_MAX) {
            return Err(format!("a register is above {REGISTER_MAX}").into());
        }
        if rows > 0 || registers != [0; REGISTERS] {
            meta.stats.put(AttrId(at as u32), rows, registers);
        }
    }
    reader.end()?;
    if !meta.attributes.is_sorted_by(|x, y| x.attribute.id < y.attribute.id) {
        return Err("its attributes do not ascend".into());
    }
    Ok(meta)
}

fn attribute(id: EntityId, ident: crate::Keyword, value_type: ValueType, flags: i64) -> Read<Attribute> {
    if flags & !(MANY | IDENTITY | UNIQUE_VALUE | INDEX | COMPONENT | NO_HISTORY) != 0 {
        return Err(format!("an attribute has flags {flags:#x}").into());
    }
    Ok(Attribute {
        id,
        ident,
        value_type,
        cardinality: if flags & MANY != 0 { Cardinality::Many } else { Cardinality::One },
        unique: match flags & (IDENTITY | UNIQUE_VALUE) {
            0 => None,
            IDENTITY => Some(Unique::Identity),
            UNIQUE_VALUE => Some(Unique::Value),
            _ => return Err("an attribute is unique in two ways".into()),
        },
        index: flags & INDEX != 0,
        component: flags & COMPONENT != 0,
        no_history: flags & NO_HISTORY != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;
    use crate::error::Category;
    use crate::index::segment::hash;
    use crate::log::DatabaseId;
    use crate::testing::values::one_of_each;
    use crate::testing::{cases, hex, unhex, values::value};
    use proptest::prelude::*;

    /// The attributes that every database has, some with statistics.
    fn bootstrap() -> Meta {
        let mut meta = Meta::default();
        for (a, attribute) in Db::bootstrap().schema().attributes() {
            let avet_since = attribute.has_avet().then_some(u64::from(a.0) * 100);
            meta.attributes.push(MetaAttribute { attribute: attribute.clone(), avet_since });
            if a.0 % 3 == 0 {
                one_of_each().iter().for_each(|v| meta.stats.add(a, v));
            }
        }
        meta
    }

    #[test]
    fn meta_segments_have_the_bytes_they_always_had() {
        let now = hex(&bootstrap().encode().unwrap());
        let golden = include_str!("golden/meta-1.hex").trim();
        assert!(now == golden, "the format has changed:\n{now}");
        assert_eq!(Meta::decode(&unhex(golden)).unwrap(), bootstrap());
    }

    #[test]
    fn a_schema_comes_back_from_its_meta_segment() {
        let db = Db::bootstrap();
        let schema = Meta::decode(&bootstrap().encode().unwrap()).unwrap().schema();
        assert_eq!(schema.len(), db.schema().len());
        for (a, attribute) in db.schema().attributes() {
            assert_eq!(schema.attribute(a), attribute);
            assert_eq!(schema.attr_of_ident(&attribute.ident), Some(a));
            assert_eq!(schema.attr_of_entity(attribute.id), Some(a));
        }
    }

    #[test]
    fn other_segments_and_other_names_are_refused() {
        let bytes = bootstrap().encode().unwrap();
        let error = super::super::Segment::decode(&bytes, &Default::default()).unwrap_err();
        assert!(error.message().contains("no node of an index tree"), "{error}");
        let id = SegmentId { database: DatabaseId([1; 16]), term: 1, job: 2, hash: hash(&bytes) };
        assert_eq!(Meta::read(&id, &bytes).unwrap(), bootstrap());
        let error = Meta::read(&id, &bytes[1..]).unwrap_err();
        assert!(error.message().starts_with("segment 0101") && error.category() == Category::Corrupt, "{error}");
        let mut leaf = bytes.clone();
        leaf[6] = 1;
        assert!(Meta::decode(&leaf).unwrap_err().message().contains("no meta segment"));
        let mut more = bytes;
        more[8..12].fill(0xff);
        assert!(Meta::decode(&more).unwrap_err().message().contains("4294967295 attributes"));
    }

    #[test]
    fn attributes_out_of_order_are_refused_on_both_sides() {
        let mut meta = bootstrap();
        meta.attributes.swap(1, 2);
        assert_eq!(meta.encode().unwrap_err().category(), Category::Fault);
    }

    proptest! {
        #![proptest_config(cases(64))]

        #[test]
        fn any_statistics_round_trip(said in proptest::collection::vec((0..30u32, value()), 0..200)) {
            let mut meta = bootstrap();
            let count = meta.attributes.len() as u32;
            said.iter().for_each(|(a, v)| meta.stats.add(AttrId(a % count), v));
            let bytes = meta.encode().unwrap();
            prop_assert_eq!(Meta::decode(&bytes).unwrap(), meta);
        }

        #[test]
        fn changed_bytes_give_an_error_or_a_sound_segment(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            let mut bytes = bootstrap().encode().unwrap();
            let mut content = envelope::open(&bytes).unwrap().plain;
            let count = bootstrap().attributes.len();
            let (place, within) = (at.index(bytes.len()), at.index(content.len()));
            bytes[place] ^= flip;
            content[within] ^= flip;
            prop_assert!(Meta::decode(&bytes[..place]).is_err());
            for bytes in [bytes, envelope::seal(Kind::Meta, None, count, &content).unwrap()] {
                if let Ok(meta) = Meta::decode(&bytes) {
                    prop_assert_eq!(Meta::decode(&meta.encode().unwrap()).unwrap(), meta);
                }
            }
        }
    }
}
