//! Forms as typed values: queries, tx-data and arguments as EDN text would say them, without the text.
//!
//! What comes in is held to the reader's rules, since everything behind it relies on them: names have the syntax of
//! names, sets and maps no duplicates, numbers their bounds. Depth is bounded by the protobuf library, which reads
//! 100 messages inside each other, that is 33 maps or 50 other collections.

use crate::v1;
use crate::v1::value::Kind;
use crate::value::{malformed, scalar};
use db::edn::{self, DIGITS_MAX, Edn, RATIO_DIGITS_MAX};
use db::model::BigInt;
use db::{Keyword, Result, Symbol};
use std::collections::HashMap;

/// The form that a value stands for: refs are numbers, tuples vectors, as in EDN text.
pub fn form(value: v1::Value) -> Result<Edn> {
    Forms::default().form(value)
}

/// Tx-data of some forms.
pub fn tx_data(forms: Vec<v1::Value>) -> Result<Edn> {
    Forms::default().forms(forms).map(Edn::Vector)
}

/// Makes forms. Names that come again are looked at once.
#[derive(Default)]
struct Forms {
    keywords: HashMap<String, Keyword>,
    symbols: HashMap<String, Symbol>,
}

impl Forms {
    fn form(&mut self, value: v1::Value) -> Result<Edn> {
        let Some(kind) = value.kind else {
            return Err(malformed("a value has none of its fields set"));
        };
        Ok(match kind {
            Kind::Nil(_) => Edn::Nil,
            Kind::Boolean(x) => Edn::Bool(x),
            Kind::Long(x) => Edn::Long(x),
            Kind::Double(x) => Edn::Double(x),
            Kind::String(x) => Edn::string(x),
            Kind::InstantMs(x) => Edn::Inst(db::Instant(x)),
            Kind::Keyword(x) => Edn::Keyword(self.keyword(x)?),
            Kind::Symbol(x) => Edn::Symbol(self.symbol(x)?),
            Kind::Vector(values) | Kind::Tuple(values) => Edn::Vector(self.forms(values.values)?),
            Kind::List(values) => Edn::List(self.forms(values.values)?),
            Kind::Set(values) => Edn::set_of(self.forms(values.values)?)?,
            Kind::Map(map) => {
                let entries = map.entries.into_iter().map(|entry| {
                    Ok((self.form(entry.key.unwrap_or_default())?, self.form(entry.value.unwrap_or_default())?))
                });
                Edn::map_of(entries.collect::<Result<_>>()?)?
            }
            Kind::Character(x) => {
                Edn::Char(char::from_u32(x).ok_or_else(|| malformed(format!("{x} is no character's code point")))?)
            }
            Kind::Ratio(ratio) => {
                let part = |bytes: &[u8]| integer(bytes, RATIO_DIGITS_MAX);
                let ratio = edn::ratio_of(part(&ratio.numerator)?, part(&ratio.denominator)?);
                ratio.ok_or_else(|| malformed("a ratio's denominator is zero"))?
            }
            Kind::Tagged(tagged) => {
                let tag = self.symbol(tagged.tag)?;
                if matches!(tag.as_str(), "inst" | "uuid") {
                    return Err(malformed(format!("#{tag} has a field of its own; give instant_ms or uuid")));
                }
                Edn::Tagged(tag, Box::new(self.form(tagged.value.map_or_else(Default::default, |value| *value))?))
            }
            kind => Edn::from(&scalar(kind)?),
        })
    }

    fn forms(&mut self, values: Vec<v1::Value>) -> Result<Vec<Edn>> {
        values.into_iter().map(|value| self.form(value)).collect()
    }

    fn keyword(&mut self, text: String) -> Result<Keyword> {
        if let Some(known) = self.keywords.get(&text) {
            return Ok(known.clone());
        }
        let keyword = edn::check_keyword(&text)?;
        self.keywords.insert(text, keyword.clone());
        Ok(keyword)
    }

    fn symbol(&mut self, text: String) -> Result<Symbol> {
        if let Some(known) = self.symbols.get(&text) {
            return Ok(known.clone());
        }
        let symbol = edn::check_symbol(&text)?;
        self.symbols.insert(text, symbol.clone());
        Ok(symbol)
    }
}

/// An integer of no more digits than the reader reads: printing and comparing take time in the square of them.
pub(crate) fn integer(bytes: &[u8], digits_max: usize) -> Result<BigInt> {
    // A decimal digit is 3.33 bits.
    if bytes.len() > digits_max * 5 / 12 + 1 {
        return Err(malformed(format!("a number has {} bytes; it has at most {digits_max} digits", bytes.len())));
    }
    Ok(BigInt::from_signed_bytes_be(bytes))
}

/// An integer of as many digits as the reader reads.
pub(crate) fn big_integer(bytes: &[u8]) -> Result<BigInt> {
    integer(bytes, DIGITS_MAX)
}

/// As [`form`] reads it back.
impl From<&Edn> for v1::Value {
    fn from(form: &Edn) -> Self {
        let values = |forms: &[Edn]| v1::Values { values: forms.iter().map(v1::Value::from).collect() };
        let kind = match form {
            Edn::Nil => Kind::Nil(v1::Nil::Nil as i32),
            Edn::Bool(x) => Kind::Boolean(*x),
            Edn::Char(x) => Kind::Character(u32::from(*x)),
            Edn::Long(x) => Kind::Long(*x),
            Edn::BigInt(x) => Kind::BigInt(x.to_signed_bytes_be().into()),
            Edn::Double(x) => Kind::Double(*x),
            Edn::BigDec(x) => Kind::BigDecimal(v1::BigDecimal {
                unscaled: x.unscaled().to_signed_bytes_be().into(),
                scale: x.scale(),
            }),
            Edn::Ratio(x) => Kind::Ratio(v1::Ratio {
                numerator: x.0.to_signed_bytes_be().into(),
                denominator: x.1.to_signed_bytes_be().into(),
            }),
            Edn::String(x) => Kind::String(x.to_string()),
            Edn::Keyword(x) => Kind::Keyword(x.as_str().to_owned()),
            Edn::Symbol(x) => Kind::Symbol(x.as_str().to_owned()),
            Edn::Inst(x) => Kind::InstantMs(x.0),
            Edn::Uuid(x) => Kind::Uuid(bytes::Bytes::copy_from_slice(x)),
            Edn::List(forms) => Kind::List(values(forms)),
            Edn::Vector(forms) => Kind::Vector(values(forms)),
            Edn::Set(forms) => Kind::Set(values(forms)),
            Edn::Map(entries) => Kind::Map(v1::Map {
                entries: entries
                    .iter()
                    .map(|(key, value)| v1::map::Entry { key: Some(key.into()), value: Some(value.into()) })
                    .collect(),
            }),
            Edn::Tagged(tag, form) => Kind::Tagged(Box::new(v1::Tagged {
                tag: tag.as_str().to_owned(),
                value: Some(Box::new(v1::Value::from(&**form))),
            })),
        };
        v1::Value { kind: Some(kind) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use db::log::digest;
    use prost::Message;

    fn sent(form: &Edn) -> Result<Edn> {
        let bytes = v1::Value::from(form).encode_to_vec();
        super::form(v1::Value::decode(&bytes[..]).unwrap())
    }

    const TEXTS: [&str; 5] = [
        r#"[{:db/id "a" :item/id "x" :item/tags #{:b "two" 3} :item/part {:part/n 5N :part/d 1.50M}}
            [:db/add [:item/id "y"] :item/n -9223372036854775808] (:fn/increment "a" :item/n 1) [:db/retract 17 :item/n]]"#,
        r#"[:find (pull ?e [*]) . :in $ % ?x :where (or [?e :a/b \c] [?e :a/b 2/3]) [(< ?x ##Inf)] (not [_ :a ##NaN])]"#,
        r#"[#inst "1992" #uuid "00112233-4455-6677-8899-aabbccddeeff" #uri "https://example.org" #bytes "AP8=" #a/b [1]]"#,
        r#"[nil true false "" "Côte d'Ivoire" 0.1 -0.0 1e300 {} [] () #{} {[1 2] {:a #{nil}}}]"#,
        "[-1/3 123456789012345678901234567890 1M / a/b ... :1a]",
    ];

    #[test]
    fn typed_forms_are_the_forms_of_their_text_and_have_their_digest() {
        for text in TEXTS {
            let read = edn::read(text).unwrap();
            let came = sent(&read).unwrap();
            assert_eq!(came, read);
            assert_eq!(came.to_string(), read.to_string());
            assert_eq!(digest(&came), digest(&read), "{text}");
            let Edn::Vector(forms) = &read else { panic!("{text} is no vector") };
            let came = tx_data(forms.iter().map(v1::Value::from).collect()).unwrap();
            assert_eq!(digest(&came), digest(&read), "{text}");
        }
    }

    #[test]
    fn values_of_facts_are_the_forms_that_their_text_has() {
        use db::Value;
        use std::sync::Arc;
        for (value, text) in [
            (Value::Ref(db::EntityId::of_tx(1)), "13194139533313"),
            (Value::float(0.1), "0.1"),
            (Value::Uri("https://example.org".into()), "#uri \"https://example.org\""),
            (Value::Bytes(Arc::new(vec![0, 255])), "#bytes \"AP8=\""),
            (Value::Tuple(Arc::new(vec![Some(Value::Long(1)), None])), "[1 nil]"),
        ] {
            let came = form(v1::Value::from(&value)).unwrap();
            assert_eq!(digest(&came), digest(&edn::read(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn what_no_text_can_say_is_refused() {
        let keyword = |text: &str| v1::Value { kind: Some(Kind::Keyword(text.into())) };
        let values = |values: Vec<v1::Value>| v1::Values { values };
        let entry = || v1::map::Entry { key: Some(keyword("a")), value: Some(keyword("b")) };
        let number = |bytes: usize| bytes::Bytes::from(vec![1; bytes]);
        for (kind, words) in [
            (Kind::Keyword("a b".into()), "`:a b` is no keyword"),
            (Kind::Keyword(":a".into()), "is no keyword"),
            (Kind::Symbol("nil".into()), "`nil` is no symbol"),
            (Kind::Set(values(vec![keyword("a"), keyword("a")])), "the set has the element :a twice"),
            (Kind::Map(v1::Map { entries: vec![entry(), entry()] }), "the map has the key :a twice"),
            (Kind::Map(v1::Map { entries: vec![v1::map::Entry::default()] }), "none of its fields set"),
            (Kind::Character(0xd800), "55296 is no character's code point"),
            (Kind::BigInt(number(5000)), "at most 10000 digits"),
            (Kind::Ratio(v1::Ratio { numerator: number(500), denominator: number(1) }), "at most 1000 digits"),
            (Kind::Ratio(v1::Ratio::default()), "denominator is zero"),
            (
                Kind::Tagged(Box::new(v1::Tagged { tag: "inst".into(), value: Some(Box::new(keyword("a"))) })),
                "#inst has a field of its own",
            ),
            (Kind::Vector(values(vec![v1::Value::default()])), "none of its fields set"),
        ] {
            let error = form(v1::Value { kind: Some(kind) }).unwrap_err();
            assert_eq!(error.category(), db::Category::Incorrect);
            assert!(error.message().contains(words), "no {words:?} in {error}");
        }
    }

    #[test]
    fn a_form_nested_beyond_all_measure_is_refused_where_it_is_decoded() {
        let nested = |depth: usize| (0..depth).fold(Edn::Nil, |inner, _| Edn::Vector(vec![inner]));
        assert!(sent(&nested(40)).is_ok());
        let bytes = v1::Value::from(&nested(200)).encode_to_vec();
        assert!(v1::Value::decode(&bytes[..]).is_err());
    }
}
