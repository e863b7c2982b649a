//! Columns of numbers.
//!
//! ```text
//! column     = form (1 byte) | body; a column of no numbers is no bytes
//! plain  0   divisor: varint, first: signed, blocks of (number - first) / divisor, from the second number on
//! deltas 1   divisor: varint, first: signed, blocks of (number - the one before) / divisor, likewise
//! places 2   count: varint, the different numbers ascending as a column, the place of each number as a column
//! block      of 128 numbers, the last of fewer: width (1 byte), least: signed, number - least in `width` bits each
//! ```
//! Widths are 0 to 57, or 64; bits are filled from the lowest of the first byte on, and a block ends with its byte.
//! Differences wrap around 2^64, so every column of numbers can be written, and every width be read. How many numbers
//! a column has is told by what it stands in. Blocks find their own width so that one far number costs 128 of them
//! some bits, not the column.

use super::bytes::{Read, Reader, put_signed, put_varint};
use rustc_hash::FxHashMap;

const PLAIN: u8 = 0;
const DELTAS: u8 = 1;
const PLACES: u8 = 2;

const BLOCK: usize = 128;
/// A number of this many bits lies within eight bytes wherever it begins.
const WIDTH_MAX: u32 = 57;

/// Writes a column.
pub(crate) fn put(bytes: &mut Vec<u8>, numbers: &[i64]) {
    let Some(&first) = numbers.first() else { return };
    let divisor = divisor(numbers);
    let scaled = |difference: i64| if divisor == 1 { difference } else { difference / divisor as i64 };
    let rest = &numbers[1..];
    let plain: Vec<i64> = rest.iter().map(|number| scaled(number.wrapping_sub(first))).collect();
    let deltas: Vec<i64> = numbers.windows(2).map(|pair| scaled(pair[1].wrapping_sub(pair[0]))).collect();
    let (plain_bytes, delta_bytes) = (blocks_len(&plain), blocks_len(&deltas));
    let (form, column) = if delta_bytes < plain_bytes { (DELTAS, deltas) } else { (PLAIN, plain) };
    bytes.push(form);
    put_varint(bytes, divisor);
    put_signed(bytes, first);
    column.chunks(BLOCK).for_each(|block| put_block(bytes, block));
}

/// Writes a column that may have few different, far apart numbers.
pub(crate) fn put_with_places(bytes: &mut Vec<u8>, numbers: &[i64]) {
    let start = bytes.len();
    put(bytes, numbers);
    // Below a byte and a half each there is little to gain.
    if (bytes.len() - start) * 2 <= numbers.len() * 3 || numbers.len() < 16 {
        return;
    }
    let mut places: FxHashMap<i64, i64> = FxHashMap::default();
    for number in numbers {
        places.insert(*number, 0);
        if places.len() > numbers.len() / 2 {
            return;
        }
    }
    let mut different: Vec<i64> = places.keys().copied().collect();
    different.sort_unstable();
    for (place, number) in different.iter().enumerate() {
        places.insert(*number, place as i64);
    }
    let column: Vec<i64> = numbers.iter().map(|number| places[number]).collect();
    let mut written = vec![PLACES];
    put_varint(&mut written, different.len() as u64);
    put(&mut written, &different);
    put(&mut written, &column);
    if written.len() < bytes.len() - start {
        bytes.truncate(start);
        bytes.append(&mut written);
    }
}

/// Reads a column of `count` numbers.
pub(crate) fn read(reader: &mut Reader<'_>, count: usize) -> Read<Vec<i64>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    match reader.byte()? {
        PLACES => {
            let different = reader.count(count)?;
            let different = read_blocks(reader, different)?;
            let mut column = read_blocks(reader, count)?;
            for place in &mut column {
                *place = at(&different, *place)?;
            }
            Ok(column)
        }
        form => read_form(reader, form, count),
    }
}

/// The thing at a place that was read.
pub(crate) fn at<X: Clone>(things: &[X], place: i64) -> Read<X> {
    let thing = usize::try_from(place).ok().and_then(|place| things.get(place)).cloned();
    thing.ok_or_else(|| format!("it names place {place} of {}", things.len()).into())
}

/// A column inside a column: it has no places of its own.
fn read_blocks(reader: &mut Reader<'_>, count: usize) -> Read<Vec<i64>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let form = reader.byte()?;
    read_form(reader, form, count)
}

fn read_form(reader: &mut Reader<'_>, form: u8, count: usize) -> Read<Vec<i64>> {
    let divisor = reader.varint()? as i64;
    let first = reader.signed()?;
    let rest = count - 1;
    // Each block has two bytes at least.
    if rest.div_ceil(BLOCK) * 2 > reader.len() {
        return Err(format!("{count} numbers are told of, and {} bytes are left for them", reader.len()).into());
    }
    let mut numbers = Vec::with_capacity(count);
    numbers.push(first);
    let mut padded = [0; BLOCK * 8 + 8];
    for begin in (0..rest).step_by(BLOCK) {
        let block = BLOCK.min(rest - begin);
        let start = numbers.len();
        read_block(reader, block, &mut numbers, &mut padded)?;
        let block = &mut numbers[start..];
        if divisor != 1 {
            block.iter_mut().for_each(|number| *number = number.wrapping_mul(divisor));
        }
        if form == PLAIN && first != 0 {
            block.iter_mut().for_each(|number| *number = number.wrapping_add(first));
        }
    }
    match form {
        PLAIN => {}
        DELTAS => {
            let mut last = 0i64;
            for number in &mut numbers {
                last = last.wrapping_add(*number);
                *number = last;
            }
        }
        _ => return Err(format!("a column of numbers has form {form}").into()),
    }
    Ok(numbers)
}

fn read_block(
    reader: &mut Reader<'_>,
    count: usize,
    numbers: &mut Vec<i64>,
    padded: &mut [u8; BLOCK * 8 + 8],
) -> Read<()> {
    let width = u32::from(reader.byte()?);
    let least = reader.signed()?;
    match width {
        0 => numbers.resize(numbers.len() + count, least),
        64 => {
            let (words, _) = reader.bytes(count * 8)?.as_chunks();
            numbers.extend(words.iter().map(|word| i64::from_le_bytes(*word).wrapping_add(least)));
        }
        1..=WIDTH_MAX => {
            let packed = reader.bytes((count * width as usize).div_ceil(8))?;
            padded[..packed.len()].copy_from_slice(packed);
            let mask = (1u64 << width) - 1;
            let mut bit = 0usize;
            numbers.extend((0..count).map(|_| {
                let at = bit >> 3;
                // A block's last number ends before the padding, so eight bytes are there; no slice is longer.
                let word = padded[at..at + 8].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
                let number = word >> (bit & 7) & mask;
                bit += width as usize;
                (number as i64).wrapping_add(least)
            }));
        }
        _ => return Err(format!("a block of numbers has width {width}").into()),
    }
    Ok(())
}

fn put_block(bytes: &mut Vec<u8>, block: &[i64]) {
    let (least, width) = least_and_width(block);
    bytes.push(width as u8);
    put_signed(bytes, least);
    if width == 64 {
        block.iter().for_each(|number| bytes.extend_from_slice(&number.wrapping_sub(least).to_le_bytes()));
        return;
    }
    let (mut word, mut filled) = (0u128, 0);
    for number in block {
        word |= u128::from(number.wrapping_sub(least) as u64) << filled;
        filled += width;
        if filled >= 64 {
            bytes.extend_from_slice(&(word as u64).to_le_bytes());
            word >>= 64;
            filled -= 64;
        }
    }
    bytes.extend_from_slice(&(word as u64).to_le_bytes()[..filled.div_ceil(8) as usize]);
}

fn least_and_width(block: &[i64]) -> (i64, u32) {
    let (mut least, mut greatest) = (i64::MAX, i64::MIN);
    for number in block {
        least = least.min(*number);
        greatest = greatest.max(*number);
    }
    let width = 64 - (greatest.wrapping_sub(least) as u64).leading_zeros();
    (least, if width > WIDTH_MAX { 64 } else { width })
}

/// About how many bytes the blocks take.
fn blocks_len(column: &[i64]) -> usize {
    column.chunks(BLOCK).map(|block| 3 + (block.len() * least_and_width(block).1 as usize).div_ceil(8)).sum()
}

/// What divides all differences between the numbers.
fn divisor(numbers: &[i64]) -> u64 {
    let (mut least, mut greatest) = (numbers[0], numbers[0]);
    let mut divisor = 0u64;
    for pair in numbers.windows(2) {
        least = least.min(pair[1]);
        greatest = greatest.max(pair[1]);
        divisor = greatest_common(divisor, pair[1].abs_diff(pair[0]));
        if divisor == 1 {
            return 1;
        }
    }
    // Differences that wrap around do not divide; and a divisor is read as a signed number.
    match greatest.checked_sub(least) {
        Some(_) => divisor.max(1),
        None => 1,
    }
}

fn greatest_common(mut x: u64, mut y: u64) -> u64 {
    while y != 0 {
        (x, y) = (y, x % y);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cases;
    use proptest::prelude::*;

    #[track_caller]
    fn check(numbers: &[i64]) -> usize {
        let mut lengths = Vec::new();
        for write in [put, put_with_places] {
            let mut bytes = Vec::new();
            write(&mut bytes, numbers);
            let mut reader = Reader::new(&bytes);
            assert_eq!(read(&mut reader, numbers.len()).as_deref(), Ok(numbers));
            assert_eq!(reader.end(), Ok(()));
            for cut in 0..bytes.len() {
                assert!(read(&mut Reader::new(&bytes[..cut]), numbers.len()).is_err(), "cut after {cut}");
            }
            lengths.push(bytes.len());
        }
        lengths[1]
    }

    #[test]
    fn every_width_and_every_edge_reads_back() {
        for width in 0..64 {
            let top = 1i64.wrapping_shl(width);
            check(&(0..300).map(|i| if i % 7 == 0 { top.wrapping_sub(1) } else { i % 2 }).collect::<Vec<_>>());
            check(&(0..200).map(|i| top.wrapping_mul(i)).collect::<Vec<_>>());
        }
        check(&[]);
        check(&[i64::MIN]);
        check(&[i64::MIN, i64::MAX, 0, -1, i64::MIN]);
        check(&[i64::MIN, 0, i64::MIN]);
        check(&[0, i64::MIN, 0, i64::MIN]);
    }

    #[test]
    fn what_repeats_or_counts_costs_little() {
        assert!(check(&[12345; 1000]) < 30);
        assert!(check(&(0..1000).map(|i| 1 << 44 | i).collect::<Vec<_>>()) < 40, "counting");
        let days: Vec<i64> = (0..1000).map(|i| (i * 7919 % 20_000) * 86_400_000).collect();
        assert!(check(&days) < 2000, "15 bits a day");
        let far = [1, 1 << 50, 1 << 40, 3 << 40, 1 << 60].repeat(200);
        assert!(check(&far) < 450, "3 bits a place");
    }

    proptest! {
        #![proptest_config(cases(64))]

        #[test]
        fn any_numbers_read_back(numbers in prop_oneof![
            proptest::collection::vec(any::<i64>(), 0..300),
            proptest::collection::vec(-100..100i64, 0..400),
            proptest::collection::vec(prop_oneof![9 => 0..4i64, 1 => any::<i64>()], 0..400),
        ]) {
            check(&numbers);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0..2000usize) {
            let _ = read(&mut Reader::new(&bytes), count);
        }
    }
}
