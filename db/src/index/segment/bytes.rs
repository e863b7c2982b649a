//! Reading and writing plain bytes: what is read is checked against what is there, and nothing panics.

use std::borrow::Cow;

/// What is read, or what is wrong with the bytes, in words that follow "the segment is damaged:".
pub(crate) type Read<X> = std::result::Result<X, Cow<'static, str>>;

/// What is left to be read.
pub(crate) struct Reader<'a>(&'a [u8]);

const CUT: Cow<'static, str> = Cow::Borrowed("it ends in the middle of something");

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Read<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(CUT)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(crate) fn byte(&mut self) -> Read<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    pub(crate) fn varint(&mut self) -> Read<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number has more than 64 bits".into())
    }

    /// A varint whose lowest bit is the sign.
    pub(crate) fn signed(&mut self) -> Read<i64> {
        self.varint().map(|bits| (bits >> 1) as i64 ^ -((bits & 1) as i64))
    }

    /// How many of something follow: at most `most`.
    pub(crate) fn count(&mut self, most: usize) -> Read<usize> {
        let count = self.varint()?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= most)
            .ok_or_else(|| format!("it tells of {count} things where at most {most} can be").into())
    }

    pub(crate) fn end(&self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("{} bytes follow its end", self.0.len()).into()) }
    }
}

pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

pub(crate) fn put_signed(bytes: &mut Vec<u8>, number: i64) {
    put_varint(bytes, (number << 1 ^ number >> 63) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_read_back_and_longer_ones_are_refused() {
        let mut numbers: Vec<u64> = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit]).collect();
        numbers.push(u64::MAX);
        for number in numbers {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            put_signed(&mut bytes, number as i64);
            let mut reader = Reader::new(&bytes);
            assert_eq!((reader.varint(), reader.signed(), reader.end()), (Ok(number), Ok(number as i64), Ok(())));
            assert!((0..bytes.len()).all(|cut| {
                let mut reader = Reader::new(&bytes[..cut]);
                reader.varint().and_then(|_| reader.signed()).is_err()
            }));
        }
        assert!(Reader::new(&[0xff; 10]).varint().is_err());
        assert!(Reader::new(&[0x80; 20]).varint().is_err());
    }
}
