//! JSON from an unknown hand: a name that stands twice in one object is refused, because two
//! readers could take different ones of the two.

use crate::report::Damage;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// Checks that `bytes` are JSON, one object, in which no name stands twice.
pub(crate) fn strict(bytes: &[u8]) -> Result<(), Damage> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    Damage::unless(first == Some(&b'{'), "not a JSON object")?;
    let checked = serde_json::from_slice::<Unique>(bytes);
    checked.map(drop).map_err(|error| Damage(format!("not JSON as it must be: {error}")))
}

/// Any JSON value without names that stand twice.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
        while items.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Unique, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = entries.next_key::<String>()? {
            entries.next_value::<Unique>()?;
            if !names.insert(name) {
                return Err(A::Error::custom("a name stands twice in one object"));
            }
        }
        Ok(Unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_twice_is_refused_wherever_it_stands() {
        for right in ["{}", r#"{"a":[1,-2,3.5,null,true,"x",{"a":{}}],"b":{"a":1}}"#] {
            assert_eq!(strict(right.as_bytes()), Ok(()), "{right}");
        }
        let deep = "[".repeat(1000);
        for wrong in ["", "[]", "{", r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"\u0061":2}]}"#, &deep] {
            assert!(strict(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(strict(b"{\"a\":\"\xff\"}").is_err());
    }
}
