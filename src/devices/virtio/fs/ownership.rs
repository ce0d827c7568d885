//! Whose files are: ids of the host, and what the guest sees of them.

/// What files of nobody that the guest knows belong to there (kernel.overflowuid).
pub const NOBODY: u32 = 65534;

/// One kind of ids: of users, or of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The id that the server has on the host.
    pub host: u32,
    /// The id in the guest that stands for it.
    pub guest: u32,
    /// Whether the server may give files to every other id too: it is root. Then every other id is
    /// itself, and the two above have changed places.
    pub all: bool,
}

impl Ids {
    /// What the guest sees of an id of the host.
    pub fn show(&self, host: u32) -> u32 {
        match (host, self.all) {
            (host, _) if host == self.host => self.guest,
            (host, true) if host == self.guest => self.host,
            (host, true) => host,
            (_, false) => NOBODY,
        }
    }

    /// The id of the host that an id in the guest stands for, if there is one.
    pub fn resolve(&self, guest: u32) -> Option<u32> {
        match (guest, self.all) {
            (guest, _) if guest == self.guest => Some(self.host),
            (guest, true) if guest == self.host => Some(self.guest),
            (guest, true) => Some(guest),
            (_, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_is_one_id_and_everybody_else_nobody() {
        let ids = Ids {
            host: 1000,
            guest: 0,
            all: false,
        };
        assert_eq!([1000, 0, 5].map(|id| ids.show(id)), [0, NOBODY, NOBODY]);
        assert_eq!(ids.resolve(0), Some(1000));
        assert_eq!([1000, 5, NOBODY].map(|id| ids.resolve(id)), [None; 3]);
    }

    #[test]
    fn root_is_everybody_and_each_id_has_one_other() {
        for guest in [0, 1000] {
            let ids = Ids {
                host: 0,
                guest,
                all: true,
            };
            for id in [0, 1, 1000, 70000] {
                assert_eq!(ids.resolve(ids.show(id)), Some(id));
            }
            assert_eq!((ids.show(0), ids.show(guest)), (guest, 0));
        }
    }
}
