//! Finding the command, as execvp does, with the workload's PATH and not init's.

/// The files to try, in order: the command itself when it has a slash, else one per component of
/// PATH in `env`. A command that is empty, or has no PATH to be found in, is nowhere.
pub fn candidates(command: &[u8], env: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if command.contains(&b'/') {
        return vec![command.to_vec()];
    }
    let path = env
        .iter()
        .rev()
        .find_map(|pair| pair.strip_prefix(b"PATH="));
    let (Some(path), false) = (path, command.is_empty()) else {
        return Vec::new();
    };
    let folders = path.split(|byte| *byte == b':');
    // An empty component is the working directory.
    folders
        .map(|folder| if folder.is_empty() { b"." } else { folder })
        .map(|f| [f, b"/", command].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_searched_where_path_says() {
        let env = [
            b"PATH=/old".to_vec(),
            b"X=1".to_vec(),
            b"PATH=/bin::/usr/bin".to_vec(),
        ];
        let found = candidates(b"ls", &env);
        assert_eq!(
            found,
            [
                b"/bin/ls".to_vec(),
                b"./ls".to_vec(),
                b"/usr/bin/ls".to_vec()
            ]
        );
        assert_eq!(candidates(b"./ls", &env), [b"./ls".to_vec()]);
        assert!(candidates(b"", &env).is_empty());
        assert!(candidates(b"ls", &[]).is_empty());
    }
}
