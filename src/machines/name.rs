//! Names: for machines that nobody named, and for people who mistype one.

use super::error::Error;

const ADJECTIVES: [&str; 64] = [
    "agile", "amber", "ample", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid",
    "clever", "cosmic", "crisp", "daring", "eager", "early", "earnest", "fair", "famous", "fluent",
    "fond", "frank", "gentle", "glad", "golden", "grand", "happy", "hardy", "honest", "humble",
    "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "modest",
    "neat", "nimble", "noble", "patient", "plucky", "polite", "proud", "quick", "quiet", "rapid",
    "ready", "serene", "sharp", "silent", "smart", "snug", "sober", "solid", "sunny", "swift",
    "tidy", "vivid", "warm", "wise",
];

const NOUNS: [&str; 64] = [
    "acorn", "alder", "almond", "apple", "aspen", "barley", "beech", "berry", "birch", "bloom",
    "cedar", "cherry", "chestnut", "clover", "cocoa", "corn", "cotton", "daisy", "elm", "fennel",
    "fern", "fig", "fir", "flax", "ginger", "grain", "grape", "hazel", "heather", "holly", "iris",
    "ivy", "juniper", "kernel", "larch", "laurel", "lemon", "lily", "linden", "lotus", "maize",
    "maple", "millet", "mint", "moss", "oak", "oat", "olive", "peach", "pear", "pecan", "pine",
    "plum", "poplar", "poppy", "rice", "rowan", "rye", "sage", "sorrel", "tulip", "walnut",
    "wheat", "willow",
];

/// After so many names that were taken, a number is added.
const PLAIN_TRIES: u32 = 8;

/// A name like `brave_maple`; later tries have a number, so that there is always one more.
pub(super) fn invent(tries: u32) -> Result<String, Error> {
    let mut bytes = [0u8; 4];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    let word = |words: [&'static str; 64], byte: u8| words[usize::from(byte) % words.len()];
    let name = format!("{}_{}", word(ADJECTIVES, bytes[0]), word(NOUNS, bytes[1]));
    match tries < PLAIN_TRIES {
        true => Ok(name),
        false => Ok(format!(
            "{name}{}",
            u16::from_le_bytes([bytes[2], bytes[3]])
        )),
    }
}

/// The one of `names` that somebody who typed `asked` most probably meant, if any is near.
pub(super) fn nearest<'n>(asked: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
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
    use crate::spec::check_name;

    #[test]
    fn invented_names_are_legal_and_do_not_run_out() {
        for tries in 0..100 {
            let name = invent(tries).unwrap();
            assert_eq!(check_name(&name), Ok(()));
            let digits = name.ends_with(|c: char| c.is_ascii_digit());
            assert_eq!(digits, tries >= PLAIN_TRIES, "{name}");
        }
    }

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
