//! For people who mistype a name.

/// The one of `names` that somebody who typed `asked` most probably meant, if any is near.
pub fn nearest<'n>(asked: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let allowed = match asked.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    let rated = names.map(|name| (distance(asked, name), name));
    let (least, name) = rated.min()?;
    (least <= allowed).then(|| name.to_owned())
}

/// How many letters must be changed, added, left out or swapped with their neighbour to make one of the
/// other (restricted Damerau-Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<_>, Vec<_>) = (one.chars().collect(), other.chars().collect());
    let width = other.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for row in 1..=one.len() {
        let mut this = vec![row; width];
        for column in 1..width {
            let differs = usize::from(one[row - 1] != other[column - 1]);
            this[column] = (last[column - 1] + differs)
                .min(last[column] + 1)
                .min(this[column - 1] + 1);
            let swapped = row > 1
                && column > 1
                && one[row - 1] == other[column - 2]
                && one[row - 2] == other[column - 1];
            if swapped {
                this[column] = this[column].min(before[column - 2] + 1);
            }
        }
        (before, last) = (last, this);
    }
    last[width - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_mistypes_is_understood_and_who_guesses_is_not() {
        let names = ["web", "database", "cache"];
        let table = [
            ("wbe", Some("web")),
            ("wen", Some("web")),
            ("databse", Some("database")),
            ("datbase2", Some("database")),
            ("cahce", Some("cache")),
            ("queue", None),
            ("we", None),
        ];
        for (asked, meant) in table {
            let found = nearest(asked, names.into_iter());
            assert_eq!(found.as_deref(), meant, "{asked}");
        }
        assert_eq!(nearest("web", std::iter::empty()), None);
    }
}
