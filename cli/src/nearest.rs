//! Names near a misspelt one, for errors.

use db::edit_distance;

/// The names that are at most two letters away, of short ones half their letters; nearest first, then in their order.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    const NAMES_MAX: usize = 3;
    let distance_max = (name.chars().count() / 2).clamp(1, 2);
    let mut near: Vec<(usize, &str)> = known.into_iter().map(|known| (edit_distance(name, known), known)).collect();
    near.retain(|(distance, _)| *distance <= distance_max);
    near.sort();
    near.into_iter().take(NAMES_MAX).map(|(_, known)| known).collect()
}

/// `; do you mean a or b?`, or nothing.
pub fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        near if near.is_empty() => String::new(),
        near => format!("; do you mean {}?", near.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_near_by_the_letters_that_differ() {
        let known = ["peers", "timeout", "format", "database"];
        assert_eq!(nearest("peer", known), ["peers"]);
        assert_eq!(nearest("fromat", known), ["format"]);
        assert_eq!(nearest("x", known), Vec::<&str>::new());
        assert_eq!(suggestion("timeuot", known), "; do you mean timeout?");
        assert_eq!(suggestion("colour", known), "");
    }
}
