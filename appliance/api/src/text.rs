//! Times and ids as text: RFC 3339 and hex.

use jiff::Timestamp;
use model::{RetentionTime, WallTime};

/// The wall time as it goes over the wire.
#[must_use]
pub fn wall(time: WallTime) -> Timestamp {
    clamped(time.0)
}

/// The retention clock's time as it goes over the wire. It may lag behind the wall clock, so
/// the end of a lock reads 'at least until'.
#[must_use]
pub fn retention(time: RetentionTime) -> Timestamp {
    clamped(time.0)
}

/// RFC 3339 ends with the year 9999. A lock beyond is shown as ending then, which stays true:
/// it holds at least until then.
fn clamped(seconds: i64) -> Timestamp {
    let earliest = Timestamp::MIN.as_second();
    let latest = Timestamp::MAX.as_second();
    Timestamp::from_second(seconds.clamp(earliest, latest)).unwrap_or(Timestamp::MAX)
}

/// For `#[serde(with = "text::display")]`: a value that goes by `Display` and `FromStr`.
pub mod display {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
    use std::{fmt::Display, str::FromStr};

    /// Writes the value's text.
    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    /// Parses the value's text.
    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// As [`display`], for a list.
pub mod display_list {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
    use std::{fmt::Display, str::FromStr};

    /// Writes the values' texts.
    pub fn serialize<T: Display, S: Serializer>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(ToString::to_string))
    }

    /// Parses the values' texts.
    pub fn deserialize<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

/// As [`display`], for an optional value; combine with `#[serde(default)]`.
pub mod display_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
    use std::{fmt::Display, str::FromStr};

    /// Writes the value's text, or null.
    pub fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(to)
    }

    /// Parses the value's text; null and an absent field are `None`.
    pub fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_and_never_fail() {
        assert_eq!(wall(WallTime(0)).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(retention(RetentionTime(1_700_000_000)).to_string(), "2023-11-14T22:13:20Z");
        assert!(retention(RetentionTime(i64::MAX)).to_string().starts_with("9999-12-30"));
        assert!(wall(WallTime(i64::MIN)) < wall(WallTime(0)));
    }
}
