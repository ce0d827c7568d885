//! The workload's environment: the image's, then the user's, later words winning.

use super::request::EnvWord;

/// What docker sets when the image does not.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `KEY=VALUE` pairs in order of first appearance, one per key. HOME is init's to add: only the
/// guest sees the image's passwd file.
pub fn merge(image: &[String], hostname: &str, words: &[EnvWord]) -> Vec<Vec<u8>> {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (b"PATH".to_vec(), DEFAULT_PATH.to_vec()),
        (b"HOSTNAME".to_vec(), hostname.into()),
    ];
    for pair in image {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        set(&mut pairs, key.as_bytes(), value.as_bytes());
    }
    for word in words {
        match word {
            EnvWord::Set(key, value) => set(&mut pairs, key, value),
            EnvWord::Unset(key) => pairs.retain(|(known, _)| known != key),
        }
    }
    pairs
        .into_iter()
        .map(|(key, value)| [key.as_slice(), b"=", &value].concat())
        .collect()
}

/// Names the terminal that a process runs on, where nobody did: as docker does.
pub fn name_terminal(env: &mut Vec<Vec<u8>>) {
    if !env.iter().any(|pair| pair.starts_with(b"TERM=")) {
        env.push(b"TERM=xterm".to_vec());
    }
}

fn set(pairs: &mut Vec<(Vec<u8>, Vec<u8>)>, key: &[u8], value: &[u8]) {
    match pairs.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => *old = value.to_vec(),
        None => pairs.push((key.to_vec(), value.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_the_name_that_somebody_gave_it_or_xterm() {
        let mut env = vec![b"TERMINAL=no".to_vec()];
        name_terminal(&mut env);
        name_terminal(&mut env);
        assert_eq!(env, [b"TERMINAL=no".to_vec(), b"TERM=xterm".to_vec()]);
        let mut own = vec![b"TERM=screen".to_vec()];
        name_terminal(&mut own);
        assert_eq!(own, [b"TERM=screen".to_vec()]);
    }

    #[test]
    fn the_last_word_wins_and_keeps_its_place() {
        let image = ["A=1".to_owned(), "PATH=/bin".to_owned()];
        let words = [
            EnvWord::Set(b"A".to_vec(), b"2=3".to_vec()),
            EnvWord::Unset(b"HOSTNAME".to_vec()),
            EnvWord::Set(b"B".to_vec(), b"\xff".to_vec()),
        ];
        let merged = merge(&image, "box", &words);
        assert_eq!(
            merged,
            [b"PATH=/bin".to_vec(), b"A=2=3".to_vec(), b"B=\xff".to_vec()]
        );
    }
}
