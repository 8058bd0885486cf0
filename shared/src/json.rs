//! JSON read without an opinion, to see whether two documents say the same.
//!
//! What serde reads into a type says less than the document did: a map's later value of a key takes the
//! place of the earlier one, a set swallows repetitions, a list of values stands for an object. Two readers
//! of one signed document must not differ, so what was read is compared with what was written.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Number;

/// Whether both are JSON, without a key twice in any object, and the same but for white space and the
/// order of keys.
pub(crate) fn says_the_same(one: &[u8], other: &[u8]) -> bool {
    one == other || matches!((read(one), read(other)), (Some(one), Some(other)) if one == other)
}

fn read(bytes: &[u8]) -> Option<Json> {
    serde_json::from_slice(bytes).ok()
}

/// A document in which each object has each key once.
#[derive(PartialEq)]
enum Json {
    Null,
    Truth(bool),
    Number(Number),
    Text(String),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Json, E> {
                Ok(Json::Truth(truth))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
                Ok(Json::Number(number.into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
                Ok(Json::Number(number.into()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
                Number::from_f64(number).map(Json::Number).ok_or_else(|| E::custom("no number"))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Json::List(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
                let mut values = BTreeMap::new();
                while let Some((key, value)) = object.next_entry()? {
                    if values.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key is there twice"));
                    }
                }
                Ok(Json::Object(values))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        says_the_same(one.as_bytes(), other.as_bytes())
    }

    #[test]
    fn white_space_and_the_order_of_keys_say_nothing() {
        let document = r#"{"a":[1,-2,0.5,null,true],"b":{"c":"é"}}"#;
        assert!(same(document, document));
        assert!(same(document, " {\"b\": {\"c\":\"\\u00e9\"},\n\"a\":[1,-2,0.5,null,true]}"));
    }

    #[test]
    fn everything_else_says_something() {
        let differing = [
            ("[1,2]", "[2,1]"),
            ("[1,1]", "[1]"),
            ("1", "1.0"),
            ("1", "\"1\""),
            (r#"{"a":1}"#, "[1]"),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#),
            (r#"{"a":1}"#, r#"{"a":1,"a":1}"#),
            (r#"{"a":1}"#, r#"{"a":1} 2"#),
            (r#"[{"a":[{"b":1}]}]"#, r#"[{"a":[{"b":1,"b":1}]}]"#),
        ];
        for (one, other) in differing {
            assert!(!same(one, other) && !same(other, one), "{one} {other}");
        }
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(!same(&deep, &format!(" {deep}")), "deeper than anybody reads");
    }
}
