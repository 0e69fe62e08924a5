//! Lists, a page at a time.
//!
//! A cursor is the sort key of the last item shown, not its position: items that appear or
//! disappear between two pages neither repeat nor hide others.

use serde::{Deserialize, Serialize};

/// Items on a page when the request names no limit.
pub const LIMIT_DEFAULT: usize = 100;
/// Items on a page at most, whatever the request asks for.
pub const LIMIT_MAX: usize = 1000;

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Items wanted at most; [`LIMIT_DEFAULT`] when absent, never more than [`LIMIT_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl PageQuery {
    /// The limit in force: 1 to [`LIMIT_MAX`].
    #[must_use]
    pub fn limit(&self) -> usize {
        limit_in_force(self.limit)
    }
}

pub(crate) fn limit_in_force(wanted: Option<u32>) -> usize {
    let wanted = wanted.and_then(|limit| usize::try_from(limit).ok());
    wanted.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in the list's own order.
    pub items: Vec<T>,
    /// What to give as `after` for the page behind this one; `None`: this was the last.
    pub next: Option<String>,
}

/// An item of a list knows its place in it.
pub trait Listed {
    /// The key by which the list is sorted; unique in the list, ascending as text.
    fn cursor(&self) -> String;
}

impl<T: Listed> Page<T> {
    /// Sorts `items` and cuts out the page that `query` asks for.
    #[must_use]
    pub fn cut(items: impl IntoIterator<Item = T>, query: &PageQuery) -> Self {
        let after = query.after.as_deref().unwrap_or("");
        let mut rest: Vec<(String, T)> = items
            .into_iter()
            .map(|item| (item.cursor(), item))
            .filter(|(cursor, _)| cursor.as_str() > after)
            .collect();
        rest.sort_by(|(a, _), (b, _)| a.cmp(b));
        let more = rest.len() > query.limit();
        rest.truncate(query.limit());
        let next = more.then(|| rest.last().map(|(cursor, _)| cursor.clone())).flatten();
        Self { items: rest.into_iter().map(|(_, item)| item).collect(), next }
    }
}

/// A sort key that puts the newest first: the time counted down, then the id.
pub(crate) fn newest_first(time: jiff::Timestamp, id: &impl std::fmt::Display) -> String {
    let left = jiff::Timestamp::MAX.as_millisecond().saturating_sub(time.as_millisecond());
    format!("{left:016}-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Item(u16);

    impl Listed for Item {
        fn cursor(&self) -> String {
            format!("{:05}", self.0)
        }
    }

    proptest! {
        #[test]
        fn pages_put_together_are_the_whole_list(
            keys in proptest::collection::btree_set(any::<u16>(), 0..200),
            limit in 0_u32..50,
        ) {
            let all: Vec<Item> = keys.iter().copied().map(Item).collect();
            let (mut seen, mut after) = (Vec::new(), None);
            for _ in 0..=all.len() {
                let query = PageQuery { limit: Some(limit), after };
                let page = Page::cut(all.iter().rev().cloned(), &query);
                prop_assert!(page.items.len() <= query.limit());
                seen.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            prop_assert_eq!(seen, all);
        }

        #[test]
        fn newer_sorts_before_older(a in 0_i64..200_000_000_000, b in 0_i64..200_000_000_000) {
            let key = |ms| newest_first(jiff::Timestamp::from_millisecond(ms).unwrap(), &"id");
            prop_assert_eq!(key(a).cmp(&key(b)), b.cmp(&a));
        }
    }

    #[test]
    fn limits_are_kept() {
        let limit = |limit| PageQuery { limit, after: None }.limit();
        assert_eq!(limit(None), LIMIT_DEFAULT);
        assert_eq!(limit(Some(0)), 1);
        assert_eq!(limit(Some(u32::MAX)), LIMIT_MAX);
    }
}
