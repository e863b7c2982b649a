//! Record bodies: the one module that uses serde and bincode.
//!
//! A body is a version byte, 16 random bytes (they keep short erased values from being guessed from the body's
//! hash), what [`prefix`] says of bodies of version 2, and one bincode 1.3.3 value: integers of fixed width in little endian, lengths of 8 bytes, enum tags of 4,
//! fields in the order in which the types below declare them. So their order and their variants' are the format:
//! **nothing here is reordered or removed**, a change raises the version.
//!
//! Texts (strings, keywords, symbols, uris, tempids) stand once per body in a dictionary, in the order in which they
//! first appear, and so do tuples; values name them by place. Nothing nests, so nothing read can recurse.

mod erase;
mod fork;
mod index;
mod prefix;

pub use erase::{EraseBody, EraseScope, Replacement};
pub use fork::ForkBody;
pub use index::{IndexBody, MetaRoot, Root, Roots};
pub use prefix::Replaced;

use super::header::{DatabaseId, Header, Kind, T_END};
use super::{BODY_BYTES_MAX, BODY_BYTES_TARGET, Hash, sha256};
use crate::error::{Error, Result};
use crate::model::{BigDec, BigInt, EntityId, Instant, Keyword, Symbol, T, Text, Value};
use bincode::Options;
use erase::WireErase;
use fork::WireFork;
use index::WireIndex;
use prefix::Prefix;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// One datom of a transaction, its attribute by entity id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedDatom {
    pub e: EntityId,
    pub a: EntityId,
    pub v: Value,
    pub added: bool,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxEntry {
    pub t: T,
    pub instant: Instant,
    pub datoms: Vec<LoggedDatom>,
    pub tempids: Vec<(String, EntityId)>,
    /// [`super::digest`] of the request.
    pub digest: Hash,
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The bootstrap: datoms of t 0, and the counter of the first entity id made by a transaction.
    Create {
        name: String,
        next_counter: u64,
        datoms: Vec<LoggedDatom>,
    },
    Tx(Vec<TxEntry>),
    /// Who reigns from here: where it serves, and what it is.
    Term {
        endpoint: String,
        software: String,
    },
    /// The trees moved.
    Index(Box<IndexBody>),
    /// Where the database goes on from.
    Fork(Box<ForkBody>),
    /// Lives were erased.
    Erase(Box<EraseBody>),
}

/// A body as bytes, before it has a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedBody {
    pub kind: Kind,
    /// How many transactions it holds.
    pub count: u64,
    pub bytes: Vec<u8>,
    pub hash: Hash,
}

/// What a `tx` body begins with, and its three lengths.
const TX_BODY_FIXED_BYTES: usize = Prefix::PLAIN_BYTES + 24;

impl EncodedBody {
    /// Too long for the log itself: it is put as a segment before its record is appended.
    pub fn is_out_of_line(&self) -> bool {
        self.bytes.len() > BODY_BYTES_TARGET
    }
}

/// At most this many bytes does a transaction add to a body. A group whose sum stays within [`BODY_BYTES_TARGET`]
/// makes a body that stays in line.
pub fn tx_bytes_bound(entry: &TxEntry) -> usize {
    let text = |text: &str| 4 + 8 + text.len();
    let value = |value: &Value| {
        4 + match value {
            Value::String(x) | Value::Uri(x) => text(x),
            Value::Keyword(x) => text(x.as_str()),
            Value::Symbol(x) => text(x.as_str()),
            Value::BigInt(x) => 8 + int_bytes_bound(x),
            Value::BigDec(x) => 12 + int_bytes_bound(x.unscaled()),
            Value::Bytes(x) => 8 + x.len(),
            _ => 16,
        }
    };
    let datoms = entry.datoms.iter().map(|datom| match &datom.v {
        Value::Tuple(elements) => 17 + 8 + 8 + elements.iter().map(|e| 1 + e.as_ref().map_or(0, value)).sum::<usize>(),
        other => 17 + value(other),
    });
    let tempids = entry.tempids.iter().map(|(name, _)| 8 + text(name));
    TX_BODY_FIXED_BYTES + 64 + datoms.sum::<usize>() + tempids.sum::<usize>()
}

fn int_bytes_bound(int: &BigInt) -> usize {
    int.bits() as usize / 8 + 1
}

impl Body {
    pub fn kind(&self) -> Kind {
        match self {
            Body::Create { .. } => Kind::Create,
            Body::Tx(_) => Kind::Tx,
            Body::Term { .. } => Kind::Term,
            Body::Index(_) => Kind::Index,
            Body::Fork(_) => Kind::Fork,
            Body::Erase(_) => Kind::Erase,
        }
    }

    /// The bytes of a body, with 16 bytes that nobody can guess.
    pub fn encode(&self, random: [u8; 16]) -> Result<EncodedBody> {
        let prefix = match self {
            Body::Index(index) if index.floor > 0 => Prefix::OnFloor { floor: index.floor },
            _ => Prefix::Plain,
        };
        self.encode_with(&prefix, random)
    }

    /// Transactions of which lives were erased, as the `erase` record at a seq of a database's log will name them.
    pub fn encode_erased(entries: Vec<TxEntry>, by: (DatabaseId, u64), random: [u8; 16]) -> Result<EncodedBody> {
        Body::Tx(entries).encode_with(&Prefix::Erased { database: by.0, seq: by.1 }, random)
    }

    fn encode_with(&self, prefix: &Prefix, random: [u8; 16]) -> Result<EncodedBody> {
        let mut dictionary = Dictionary::default();
        let prefix = prefix.encode(random);
        let bytes = match self {
            Body::Create { name, next_counter, datoms } => {
                let datoms = datoms.iter().map(|datom| dictionary.datom(datom)).collect::<Result<_>>()?;
                let Dictionary { texts, tuples, .. } = dictionary;
                encode(prefix, &WireCreate { texts, tuples, name, next_counter: *next_counter, datoms })?
            }
            Body::Tx(entries) => {
                let txs = entries.iter().map(|entry| dictionary.tx(entry)).collect::<Result<_>>()?;
                let Dictionary { texts, tuples, .. } = dictionary;
                encode(prefix, &WireTxs { texts, tuples, txs })?
            }
            Body::Term { endpoint, software } => encode(prefix, &WireTerm { endpoint, software })?,
            Body::Index(index) => encode(prefix, &WireIndex::of(index))?,
            Body::Fork(fork) => encode(prefix, &WireFork::of(fork))?,
            Body::Erase(erase) => encode(prefix, &WireErase::of(erase))?,
        };
        let count = if let Body::Tx(entries) = self { entries.len() as u64 } else { 0 };
        Ok(EncodedBody { kind: self.kind(), count, hash: sha256(&bytes), bytes })
    }

    /// Reads the body that a header names; refuses bytes whose hash is another, before it looks into them.
    pub fn decode(header: &Header, bytes: &[u8]) -> Result<Body> {
        if sha256(bytes) == header.body_hash {
            return Body::read(header, bytes, false);
        }
        Err(match Replaced::of(header, bytes) {
            None => header.damaged("its body has another hash than its header says"),
            Some(replaced) => replaced.unheard(header),
        })
    }

    /// Reads the body that a header names, or one that took its place, which is told: whoever takes it asks the `erase`
    /// record that it names.
    pub fn decode_any(header: &Header, bytes: &[u8]) -> Result<(Body, Option<Replaced>)> {
        match Replaced::of(header, bytes) {
            Some(replaced) => Ok((Body::read(header, bytes, true)?, Some(replaced))),
            None => Ok((Body::decode(header, bytes)?, None)),
        }
    }

    fn read(header: &Header, bytes: &[u8], is_replaced: bool) -> Result<Body> {
        let Some((prefix, content)) = Prefix::read(header, bytes)? else {
            return Err(header.damaged("its body is shorter than what every body begins with"));
        };
        if is_replaced != matches!(prefix, Prefix::Erased { .. }) {
            return Err(header.damaged("its body says that another stood there before, which its header denies"));
        }
        let floor = if let Prefix::OnFloor { floor } = prefix { floor } else { 0 };
        let body = match header.kind {
            Kind::Create => decode(content).and_then(read_create),
            Kind::Tx => decode(content).and_then(|txs| read_txs(txs, header)),
            Kind::Term => decode(content).map(|WireTerm { endpoint, software }| Body::Term {
                endpoint: endpoint.to_string(),
                software: software.to_string(),
            }),
            Kind::Index => decode(content)
                .and_then(|index: WireIndex| index.read(floor, header))
                .map(|index| Body::Index(Box::new(index))),
            Kind::Fork => {
                decode(content).and_then(|fork: WireFork| fork.read(header)).map(|fork| Body::Fork(Box::new(fork)))
            }
            Kind::Erase => decode(content)
                .and_then(|erase: WireErase| erase.read(header))
                .map(|erase| Body::Erase(Box::new(erase))),
            // Their headers are refused.
            Kind::Upgrade => Err("its kind has no body here".into()),
        };
        body.map_err(|fault| header.damaged(format!("its body cannot be read: {fault}")))
    }
}

#[derive(Serialize, Deserialize)]
struct WireTxs<'a> {
    #[serde(borrow)]
    texts: Vec<&'a str>,
    #[serde(borrow)]
    tuples: Vec<Vec<Option<WireValue<'a>>>>,
    #[serde(borrow)]
    txs: Vec<WireTx<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WireTx<'a> {
    t: u64,
    instant: i64,
    digest: [u8; 32],
    #[serde(borrow)]
    datoms: Vec<WireDatom<'a>>,
    /// The tempid's text by place, and its entity.
    tempids: Vec<(u32, u64)>,
}

#[derive(Serialize, Deserialize)]
struct WireCreate<'a> {
    #[serde(borrow)]
    texts: Vec<&'a str>,
    #[serde(borrow)]
    tuples: Vec<Vec<Option<WireValue<'a>>>>,
    name: &'a str,
    next_counter: u64,
    #[serde(borrow)]
    datoms: Vec<WireDatom<'a>>,
}

#[derive(Serialize, Deserialize)]
struct WireTerm<'a> {
    endpoint: &'a str,
    software: &'a str,
}

#[derive(Serialize, Deserialize)]
struct WireDatom<'a> {
    e: u64,
    a: u64,
    added: bool,
    #[serde(borrow)]
    v: WireValue<'a>,
}

/// Tags are the variants' places, from 0.
#[derive(Serialize, Deserialize)]
enum WireValue<'a> {
    Boolean(bool),
    Long(i64),
    /// Two's complement, little endian, as short as can be.
    #[serde(with = "raw", borrow)]
    BigInt(Cow<'a, [u8]>),
    Float(f32),
    Double(f64),
    /// Scale, then the unscaled number as a bigint.
    BigDec(i32, #[serde(with = "raw", borrow)] Cow<'a, [u8]>),
    /// Milliseconds since 1970.
    Instant(i64),
    Keyword(u32),
    Symbol(u32),
    String(u32),
    Uuid([u8; 16]),
    Uri(u32),
    Ref(u64),
    #[serde(with = "raw", borrow)]
    Bytes(Cow<'a, [u8]>),
    Tuple(u32),
}

/// Bytes in one piece: borrowed when read.
mod raw {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::borrow::Cow;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, [u8]>, D::Error> {
        <&'de [u8]>::deserialize(deserializer).map(Cow::Borrowed)
    }
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_limit(BODY_BYTES_MAX as u64).reject_trailing_bytes()
}

fn encode(mut bytes: Vec<u8>, content: &impl Serialize) -> Result<Vec<u8>> {
    let too_large = || {
        let message =
            format!("the transaction is longer than {} MiB, which is the most; split it", BODY_BYTES_MAX >> 20);
        Error::incorrect("db.error/transaction-too-large", message).with("bytes-max", BODY_BYTES_MAX as i64)
    };
    // Its only failure is the size limit: the types above are plain.
    options().serialize_into(&mut bytes, content).map_err(|_| too_large())?;
    if bytes.len() > BODY_BYTES_MAX { Err(too_large()) } else { Ok(bytes) }
}

/// What cannot be read, in words.
type Read<X> = std::result::Result<X, Cow<'static, str>>;

/// Every length is checked against the bytes that are there: texts and bytes are borrowed, and a sequence gets no
/// more room in advance than serde's cautious megabyte.
fn decode<'a, X: Deserialize<'a>>(bytes: &'a [u8]) -> Read<X> {
    options().deserialize(bytes).map_err(|error| error.to_string().into())
}

/// The texts and tuples of a body that is being written.
#[derive(Default)]
struct Dictionary<'a> {
    texts: Vec<&'a str>,
    tuples: Vec<Vec<Option<WireValue<'a>>>>,
    text_places: FxHashMap<&'a str, u32>,
}

impl<'a> Dictionary<'a> {
    fn text(&mut self, text: &'a str) -> u32 {
        *self.text_places.entry(text).or_insert_with(|| {
            self.texts.push(text);
            (self.texts.len() - 1) as u32
        })
    }

    fn tx(&mut self, entry: &'a TxEntry) -> Result<WireTx<'a>> {
        Ok(WireTx {
            t: entry.t,
            instant: entry.instant.0,
            digest: entry.digest,
            datoms: entry.datoms.iter().map(|datom| self.datom(datom)).collect::<Result<_>>()?,
            tempids: entry.tempids.iter().map(|(name, e)| (self.text(name), e.as_u64())).collect(),
        })
    }

    fn datom(&mut self, datom: &'a LoggedDatom) -> Result<WireDatom<'a>> {
        let v = match &datom.v {
            Value::Tuple(elements) => {
                let elements = elements.iter().map(|v| v.as_ref().map(|v| self.value(v)).transpose());
                let elements = elements.collect::<Result<_>>()?;
                self.tuples.push(elements);
                WireValue::Tuple((self.tuples.len() - 1) as u32)
            }
            other => self.value(other)?,
        };
        Ok(WireDatom { e: datom.e.as_u64(), a: datom.a.as_u64(), added: datom.added, v })
    }

    fn value(&mut self, value: &'a Value) -> Result<WireValue<'a>> {
        Ok(match value {
            Value::Boolean(x) => WireValue::Boolean(*x),
            Value::Long(x) => WireValue::Long(*x),
            Value::BigInt(x) => WireValue::BigInt(Cow::Owned(x.to_signed_bytes_le())),
            Value::Float(x) => WireValue::Float(*x),
            Value::Double(x) => WireValue::Double(*x),
            Value::BigDec(x) => WireValue::BigDec(x.scale(), Cow::Owned(x.unscaled().to_signed_bytes_le())),
            Value::Instant(x) => WireValue::Instant(x.0),
            Value::Keyword(x) => WireValue::Keyword(self.text(x.as_str())),
            Value::Symbol(x) => WireValue::Symbol(self.text(x.as_str())),
            Value::String(x) => WireValue::String(self.text(x)),
            Value::Uuid(x) => WireValue::Uuid(**x),
            Value::Uri(x) => WireValue::Uri(self.text(x)),
            Value::Ref(x) => WireValue::Ref(x.as_u64()),
            Value::Bytes(x) => WireValue::Bytes(Cow::Borrowed(x)),
            // No attribute has such values.
            Value::Tuple(_) => return Err(Error::fault(format!("a tuple inside a tuple cannot be logged: {value}"))),
        })
    }
}

/// The texts and tuples of a body that is being read; each is made once and shared by all who name it.
struct Entries<'a> {
    texts: Vec<&'a str>,
    strings: Vec<Option<Text>>,
    keywords: Vec<Option<Keyword>>,
    tuples: Vec<Value>,
}

impl<'a> Entries<'a> {
    fn new(texts: Vec<&'a str>, tuples: Vec<Vec<Option<WireValue<'a>>>>) -> Read<Self> {
        let mut entries = Entries { texts, strings: Vec::new(), keywords: Vec::new(), tuples: Vec::new() };
        for elements in tuples {
            let elements = elements.into_iter().map(|v| v.map(|v| entries.value(v)).transpose());
            let elements = elements.collect::<Read<Vec<Option<Value>>>>()?;
            if elements.iter().flatten().any(|v| matches!(v, Value::Tuple(_))) {
                return Err("a tuple is inside a tuple".into());
            }
            entries.tuples.push(Value::Tuple(Arc::new(elements)));
        }
        Ok(entries)
    }

    fn text(&self, place: u32) -> Read<&'a str> {
        self.texts.get(place as usize).copied().ok_or_else(|| format!("there is no text {place}").into())
    }

    fn string(&mut self, place: u32) -> Read<Text> {
        let text = self.text(place)?;
        self.strings.resize(self.texts.len(), None);
        Ok(self.strings[place as usize].get_or_insert_with(|| Text::from(text)).clone())
    }

    fn keyword(&mut self, place: u32) -> Read<Keyword> {
        let text = self.text(place)?;
        self.keywords.resize(self.texts.len(), None);
        Ok(self.keywords[place as usize].get_or_insert_with(|| Keyword::new(text)).clone())
    }

    fn datom(&mut self, datom: WireDatom<'a>) -> Read<LoggedDatom> {
        Ok(LoggedDatom { e: entity(datom.e)?, a: entity(datom.a)?, v: self.value(datom.v)?, added: datom.added })
    }

    fn value(&mut self, value: WireValue<'a>) -> Read<Value> {
        Ok(match value {
            WireValue::Boolean(x) => Value::Boolean(x),
            WireValue::Long(x) => Value::Long(x),
            WireValue::BigInt(x) => Value::BigInt(Arc::new(BigInt::from_signed_bytes_le(&x))),
            WireValue::Float(x) => Value::float(x),
            WireValue::Double(x) => Value::double(x),
            WireValue::BigDec(scale, unscaled) => {
                let decimal = BigDec::new(BigInt::from_signed_bytes_le(&unscaled), scale);
                Value::BigDec(Arc::new(decimal.ok_or("a decimal's scale is out of bounds")?))
            }
            WireValue::Instant(x) => Value::Instant(Instant(x)),
            WireValue::Keyword(x) => Value::Keyword(self.keyword(x)?),
            WireValue::Symbol(x) => Value::Symbol(Symbol::new(self.text(x)?)),
            WireValue::String(x) => Value::String(self.string(x)?),
            WireValue::Uuid(x) => Value::uuid(x),
            WireValue::Uri(x) => Value::Uri(self.string(x)?),
            WireValue::Ref(x) => Value::Ref(entity(x)?),
            WireValue::Bytes(x) => Value::Bytes(Arc::new(x.into_owned())),
            WireValue::Tuple(x) => {
                let tuple = self.tuples.get(x as usize).cloned();
                tuple.ok_or_else(|| Cow::from(format!("there is no tuple {x}")))?
            }
        })
    }
}

fn entity(id: u64) -> Read<EntityId> {
    let id = i64::try_from(id).ok().and_then(EntityId::from_long);
    id.ok_or_else(|| "an entity id has 63 bits".into())
}

fn read_create(body: WireCreate<'_>) -> Read<Body> {
    let mut entries = Entries::new(body.texts, body.tuples)?;
    let datoms = body.datoms.into_iter().map(|datom| entries.datom(datom)).collect::<Read<_>>()?;
    if body.next_counter >= T_END {
        return Err("the counter of entity ids has 42 bits".into());
    }
    Ok(Body::Create { name: body.name.to_string(), next_counter: body.next_counter, datoms })
}

fn read_txs(body: WireTxs<'_>, header: &Header) -> Read<Body> {
    if body.txs.len() as u64 != header.count {
        return Err(format!("it has {} transactions, its header says {}", body.txs.len(), header.count).into());
    }
    let mut entries = Entries::new(body.texts, body.tuples)?;
    let mut txs = Vec::with_capacity(body.txs.len());
    for (tx, t) in body.txs.into_iter().zip(header.first_t..) {
        if tx.t != t {
            return Err(format!("transaction {} stands where {t} should", tx.t).into());
        }
        let datoms = tx.datoms.into_iter().map(|datom| entries.datom(datom)).collect::<Read<_>>()?;
        let tempid = |(name, e)| Ok((entries.text(name)?.to_string(), entity(e)?));
        let tempids = tx.tempids.into_iter().map(tempid).collect::<Read<_>>()?;
        txs.push(TxEntry { t, instant: Instant(tx.instant), datoms, tempids, digest: tx.digest });
    }
    Ok(Body::Tx(txs))
}
