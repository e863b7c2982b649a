//! Names near a mistyped one, for error messages.

/// What to add to an error about a name nobody knows: `; near it: a, b, c`, or nothing where none is near.
/// `prefix` stands before each name.
pub(crate) fn near_names<'a>(name: &str, prefix: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    const NEAR_MAX: usize = 3;
    // Longer names are no typing mistakes and would cost the square of their length.
    const CHARS_MAX: usize = 64;
    if name.chars().count() > CHARS_MAX {
        return String::new();
    }
    let bound = (name.chars().count() / 3).max(1) + 1;
    let mut near: Vec<(usize, &str)> = candidates
        .filter(|candidate| candidate.len() <= CHARS_MAX)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= bound || (name.len() > 2 && candidate.ends_with(&format!("/{name}")))
        })
        .collect();
    near.sort();
    near.dedup();
    let names: Vec<String> = near.into_iter().take(NEAR_MAX).map(|(_, name)| format!("{prefix}{name}")).collect();
    if names.is_empty() { String::new() } else { format!("; near it: {}", names.join(", ")) }
}

/// Edits (insert, delete, replace, swap of neighbours) from one name to another.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_nearest_first_and_far_ones_not_at_all() {
        let names = ["starts-with?", "ends-with?", "even?", "odd?", "country/name"];
        assert_eq!(near_names("start-with?", "", names.into_iter()), "; near it: starts-with?");
        assert_eq!(near_names("evne?", "", names.into_iter()), "; near it: even?");
        assert_eq!(near_names("name", ":", names.into_iter()), "; near it: :country/name");
        assert_eq!(near_names("zzzzzz", "", names.into_iter()), "");
    }
}
