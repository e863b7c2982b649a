//! What facts are made of: entity ids, values, datoms.

mod bigdec;
mod datom;
mod entity_id;
mod instant;
mod name;
mod value;

pub use bigdec::BigDec;
pub use datom::{AttrId, Datom};
pub use entity_id::{EntityId, Partition, T};
pub use instant::Instant;
pub use name::{Keyword, Symbol};
pub use num_bigint::BigInt;
pub use value::{Text, Value, ValueType};
