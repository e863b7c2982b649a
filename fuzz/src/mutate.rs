//! Inputs made from others: bytes changed anywhere, and in text whole forms taken out, doubled, wrapped, and put in
//! the place of others, so that most of what is made still reads.

use std::ops::Range;

/// Seeded random numbers (splitmix64).
pub struct Dice(u64);

/// Longer inputs are cut: limits on size have tests of their own, and time is better spent on variety.
const INPUT_BYTES_MAX: usize = 4096;
/// Numbers at which something begins or ends.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to but without `end`; 0 when there is nothing to choose from.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.roll() % end as u64) as usize }
    }

    fn pick<'a, X>(&mut self, from: &'a [X]) -> Option<&'a X> {
        from.get(self.below(from.len()))
    }

    fn range(&mut self, length: usize) -> Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        a.min(b)..a.max(b)
    }
}

/// One input: an entry of the corpus with one to six mutations.
pub fn input(dice: &mut Dice, is_text: bool, corpus: &[Vec<u8>], dictionary: &[&str]) -> Vec<u8> {
    let mut input = dice.pick(corpus).cloned().unwrap_or_default();
    for _ in 0..1 + dice.below(6) {
        // Text is mostly changed form by form.
        if is_text && dice.below(4) > 0 {
            change_forms(dice, &mut input, corpus, dictionary);
        } else {
            change_bytes(dice, &mut input, corpus, dictionary);
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

fn change_bytes(dice: &mut Dice, input: &mut Vec<u8>, corpus: &[Vec<u8>], dictionary: &[&str]) {
    let at = dice.below(input.len() + 1);
    match dice.below(8) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = dice.roll() as u8,
        2 => drop(input.drain(dice.range(input.len()))),
        3 => {
            let range = dice.range(input.len());
            let copy = input[range].to_vec();
            input.splice(at..at, copy);
        }
        4 => {
            let word = dice.pick(dictionary).copied().unwrap_or_default();
            input.splice(at..at, word.bytes());
        }
        5 => {
            let edge = dice.pick(&EDGES).copied().unwrap_or_default().to_le_bytes();
            let width = [1, 2, 4, 8][dice.below(4)];
            let end = input.len().min(at + width);
            input.splice(at..end, edge[..width].iter().copied());
        }
        6 => {
            let other = dice.pick(corpus).map_or(&[][..], Vec::as_slice);
            let (taken, place) = (dice.range(other.len()), dice.range(input.len()));
            input.splice(place, other[taken].iter().copied());
        }
        _ => input.truncate(at),
    }
}

fn change_forms(dice: &mut Dice, input: &mut Vec<u8>, corpus: &[Vec<u8>], dictionary: &[&str]) {
    let own = forms(input);
    let Some(place) = dice.pick(&own).cloned() else { return };
    let form = input[place.clone()].to_vec();
    let new = match dice.below(8) {
        0 => Vec::new(),
        1 => [&form[..], b" ", &form].concat(),
        2 => {
            let (open, close) =
                [("[", "]"), ("(", ")"), ("#{", "}"), ("{", "}"), ("(not ", ")"), ("(or ", ")")][dice.below(6)];
            [open.as_bytes(), &form, close.as_bytes()].concat()
        }
        3 => {
            // Two forms change places.
            let other = dice.pick(&own).cloned().unwrap_or_default();
            if other.start < place.end && place.start < other.end {
                return;
            }
            let (first, second) = if other.start < place.start { (other, place) } else { (place, other) };
            let whole = [
                &input[..first.start],
                &input[second.clone()],
                &input[first.end..second.start],
                &input[first.clone()],
                &input[second.end..],
            ];
            *input = whole.concat();
            return;
        }
        4 | 5 => dice.pick(dictionary).map_or(Vec::new(), |word| word.as_bytes().to_vec()),
        _ => {
            let other = dice.pick(corpus).map_or(&[][..], Vec::as_slice);
            let range = dice.pick(&forms(other)).cloned().unwrap_or_default();
            other[range].to_vec()
        }
    };
    input.splice(place, new);
}

/// Where forms stand in a text, roughly: brackets with their contents, strings, and words.
fn forms(text: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut open) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < text.len() {
        let start = at;
        at += 1;
        match text[start] {
            b'[' | b'(' | b'{' => open.push(start),
            b']' | b')' | b'}' => found.extend(open.pop().map(|start| start..at)),
            b'"' => {
                while at < text.len() && text[at] != b'"' {
                    at += 1 + usize::from(text[at] == b'\\');
                }
                at = (at + 1).min(text.len());
                found.push(start..at);
            }
            byte if byte.is_ascii_whitespace() || byte == b',' => {}
            _ => {
                let ends = |byte: u8| byte.is_ascii_whitespace() || b"[](){}\",".contains(&byte);
                while at < text.len() && !ends(text[at]) {
                    at += 1;
                }
                found.push(start..at);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_found_in_text() {
        let text = br#"[:find ?e :in [?x "a] b"]]"#;
        let found: Vec<&str> =
            forms(text).into_iter().map(|range| std::str::from_utf8(&text[range]).unwrap()).collect();
        let expected = [":find", "?e", ":in", "?x", r#""a] b""#, r#"[?x "a] b"]"#, r#"[:find ?e :in [?x "a] b"]]"#];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_same_seed_makes_the_same_input_and_most_inputs_differ() {
        let corpus = vec![b"[:find ?e :where [?e :a/n 1]]".to_vec(), b"[[:db/add 1 :a/n 2]]".to_vec()];
        let make = |seed| input(&mut Dice::new(seed), true, &corpus, &["nil", "?x"]);
        let all: std::collections::BTreeSet<Vec<u8>> = (0..1000).map(make).collect();
        assert!(all.len() > 700, "{}", all.len());
        assert!((0..1000).all(|seed| make(seed) == make(seed)));
    }
}
