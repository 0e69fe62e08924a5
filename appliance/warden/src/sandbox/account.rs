//! Users of the machine, by name or by number.
//!
//! Read from `/etc/passwd` only: the appliance has no directory service, and the C library's
//! look-up would load modules into a process that is meant to be small.

use std::path::PathBuf;

/// A user: numbers, no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub user: u32,
    /// Its first group.
    pub group: u32,
}

/// Why a user was not found.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The list cannot be read.
    #[error("cannot read {}, the list of users", path.display())]
    List {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is neither in the list nor a number.
    #[error("there is no user {name:?}; give a name from /etc/passwd, a number, or number:number")]
    Unknown {
        /// As given.
        name: String,
    },
}

impl Account {
    /// `name`, `uid` or `uid:gid`. A number need not be in the list; its group is then the same
    /// number.
    pub fn find(name: &str) -> Result<Self, AccountError> {
        if let Some(account) = numbers(name) {
            return Ok(account);
        }
        let path = PathBuf::from("/etc/passwd");
        let list =
            std::fs::read_to_string(&path).map_err(|source| AccountError::List { path, source })?;
        in_list(name, &list).ok_or_else(|| AccountError::Unknown { name: name.to_owned() })
    }
}

fn numbers(text: &str) -> Option<Account> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    Some(Account { user: user.parse().ok()?, group: group.parse().ok()? })
}

/// passwd(5): `name:password:uid:gid:...`
fn in_list(name: &str, list: &str) -> Option<Account> {
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next().filter(|found| !found.is_empty() && *found == name);
        found?;
        let user = fields.nth(1)?.parse().ok()?;
        Some(Account { user, group: fields.next()?.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let list =
            "root:x:0:0:root:/root:/bin/sh\n\n:x:9:9::\nwarden:x:61001:61000::/:/none\nbad:x\n";
        assert_eq!(in_list("warden", list), Some(Account { user: 61001, group: 61000 }));
        for absent in ["", "ward", "bad", "x"] {
            assert_eq!(in_list(absent, list), None, "{absent:?}");
        }
        assert_eq!(Account::find("61001").unwrap(), Account { user: 61001, group: 61001 });
        assert_eq!(Account::find("1:2").unwrap(), Account { user: 1, group: 2 });
        assert_eq!(Account::find("root").unwrap(), Account { user: 0, group: 0 });
        for wrong in ["no such user", "-1", "1:", "1:2:3", "4294967296"] {
            assert!(matches!(Account::find(wrong), Err(AccountError::Unknown { .. })), "{wrong:?}");
        }
    }
}
