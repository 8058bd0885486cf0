//! JSON read without an opinion, to see whether two documents say the same.
//!
//! What serde reads into a type says less than the document did: a map's later value of a key takes the
//! place of the earlier one, a set swallows repetitions, a list of values stands for an object. Two readers
//! of one signed document must not differ, so what was read is compared with what was written.

use std::collections::BTreeMap;
use std::{fmt, io};

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

/// Reads a value from JSON. Text that is well encoded as a whole is not looked at again piece by piece.
pub(crate) fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        // Says where it is wrong.
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// Whether `bytes` are how `value` is written here, byte by byte.
pub(crate) fn is_written_as(value: &impl Serialize, bytes: &[u8]) -> bool {
    let mut rest = Rest(bytes);
    serde_json::to_writer(&mut rest, value).is_ok() && rest.0.is_empty()
}

/// What is left of some bytes, when what is written was compared with them instead of kept.
struct Rest<'a>(&'a [u8]);

impl io::Write for Rest<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(piece).ok_or(io::ErrorKind::InvalidData)?;
        Ok(piece.len())
    }

    fn write_all(&mut self, piece: &[u8]) -> io::Result<()> {
        self.write(piece).map(|_all| ())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether both are JSON, without a key twice in any object, and the same but for white space and the
/// order of keys.
pub(crate) fn says_the_same(one: &[u8], other: &[u8]) -> bool {
    one == other || matches!((read(one), read(other)), (Ok(one), Ok(other)) if one == other)
}

/// Reads a document in which no object has a key twice.
pub(crate) fn read(bytes: &[u8]) -> Result<Json, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// A document in which each object has each key once.
#[derive(PartialEq)]
pub(crate) enum Json {
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
    fn compares_with_what_would_be_written() {
        let value = ("a \"word\"", BTreeMap::from([("b", 1)]), [(); 2]);
        let written = serde_json::to_vec(&value).unwrap();
        assert!(is_written_as(&value, &written));
        for end in 0..written.len() {
            assert!(!is_written_as(&value, &written[..end]), "cut at {end}");
            let mut bent = written.clone();
            bent[end] ^= 1;
            assert!(!is_written_as(&value, &bent), "bent at {end}");
        }
        assert!(!is_written_as(&value, &[&*written, b" "].concat()), "more than that");
    }

    #[test]
    fn reads_what_is_well_encoded_and_says_where_it_is_not() {
        assert_eq!(from_slice::<&str>("\"é\"".as_bytes()).unwrap(), "é");
        let fault = from_slice::<&str>(b"\"ab\xffcd\"").unwrap_err();
        assert_eq!((fault.line(), fault.column()), (1, 4));
        assert!(from_slice::<Vec<u8>>(b"[1]\xff").is_err());
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
