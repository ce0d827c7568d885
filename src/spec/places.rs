//! What will be mounted where: the image's volumes, `--tmpfs`, `-v` and `--mount` together.

use husk_init::job::Tmpfs;

use super::mounts::{Mount, Wanted};

/// Everything that is mounted in the root, each place once.
#[derive(Debug)]
pub struct Places {
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Volumes of this run alone.
    pub volumes: Vec<String>,
    /// Files of the host.
    pub mounts: Vec<Mount>,
}

impl Places {
    /// What `--tmpfs` and the image ask for.
    pub fn new(tmpfs: Vec<Tmpfs>, volumes: &[String]) -> Self {
        Self {
            tmpfs,
            volumes: volumes.to_vec(),
            mounts: Vec::new(),
        }
    }

    /// Adds what the user asks for. It takes the place of the image's volume; two of the user's at one
    /// place are a mistake.
    pub fn add(&mut self, wanted: Wanted) -> Result<(), String> {
        let target = wanted.target();
        let in_memory = self.tmpfs.iter().map(|tmpfs| trim(&tmpfs.path));
        let files = self.mounts.iter().map(|mount| mount.target.as_bytes());
        if in_memory.chain(files).any(|taken| taken == target) {
            let target = String::from_utf8_lossy(target);
            return Err(format!(
                "target `{target}` is mounted twice: leave one away"
            ));
        }
        self.volumes
            .retain(|volume| trim(volume.as_bytes()) != target);
        match wanted {
            Wanted::Files(mount) => self.mounts.push(mount),
            Wanted::Anonymous(target) => self.volumes.push(target),
            Wanted::Memory(tmpfs) => self.tmpfs.push(tmpfs),
        }
        Ok(())
    }
}

fn trim(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/');
    &path[..end.map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use super::super::mounts::{parse_mount, parse_volume};
    use super::*;

    #[test]
    fn the_users_mount_takes_the_place_of_the_images_volume() {
        let image = ["/data/".to_owned(), "/other".to_owned()];
        let mut places = Places::new(Vec::new(), &image);
        places.add(parse_volume("/srv:/data").unwrap()).unwrap();
        places.add(parse_volume("/mine").unwrap()).unwrap();
        assert_eq!(places.volumes, ["/other", "/mine"]);
        assert_eq!(places.mounts.len(), 1);
    }

    #[test]
    fn two_mounts_at_one_place_are_a_mistake() {
        let tmpfs = Tmpfs {
            path: b"/t/".to_vec(),
            options: Vec::new(),
        };
        let mut places = Places::new(vec![tmpfs], &[]);
        places.add(parse_volume("/srv:/data").unwrap()).unwrap();
        let again = parse_mount("type=bind,source=/x,target=//data/").unwrap();
        assert!(places.add(again).unwrap_err().contains("/data"));
        let over = parse_volume("/srv:/t").unwrap();
        assert!(places.add(over).unwrap_err().contains("/t"));
    }
}
