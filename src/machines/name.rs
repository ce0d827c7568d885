//! Names for machines that nobody named.

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
}
