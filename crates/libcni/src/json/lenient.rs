//! A deserialiser that reads typed structs as Go's `encoding/json` does.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as DeError, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

/// Decodes a document as Go would: keys of structs match without regard to case (an exactly written one is
/// preferred), the last of duplicate keys wins, and a key whose value is `null` counts as not given, so that
/// the field's `#[serde(default)]` holds. Elsewhere `null` is the zero value of what is expected.
///
/// It holds for structs at any depth, also inside lists and maps. It does not reach into enums and flattened
/// structs, which serde reads through a buffer of its own.
pub fn de_lenient<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let raw: &RawValue = serde_json::from_slice(bytes).map_err(super::discreet)?;
    de_lenient_raw(raw)
}

/// [`de_lenient`] for a value that is part of a document.
pub fn de_lenient_raw<T: DeserializeOwned>(raw: &RawValue) -> Result<T, serde_json::Error> {
    T::deserialize(Lenient(raw)).map_err(super::discreet)
}

/// The name under which serde_json asks for the raw text of a value.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

struct Lenient<'de>(&'de RawValue);

impl<'de> Lenient<'de> {
    fn is_null(&self) -> bool {
        self.0.get() == "null"
    }

    fn starts_with(&self, byte: u8) -> bool {
        self.0.get().as_bytes().first() == Some(&byte)
    }
}

macro_rules! scalar {
    ($($method:ident => $visit:ident($zero:expr);)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            if self.is_null() {
                return visitor.$visit($zero);
            }
            serde_json::Deserializer::from_str(self.0.get()).$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Lenient<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        serde_json::Deserializer::from_str(self.0.get()).deserialize_any(visitor)
    }

    scalar! {
        deserialize_bool => visit_bool(false);
        deserialize_i8 => visit_i8(0);
        deserialize_i16 => visit_i16(0);
        deserialize_i32 => visit_i32(0);
        deserialize_i64 => visit_i64(0);
        deserialize_u8 => visit_u8(0);
        deserialize_u16 => visit_u16(0);
        deserialize_u32 => visit_u32(0);
        deserialize_u64 => visit_u64(0);
        deserialize_f32 => visit_f32(0.0);
        deserialize_f64 => visit_f64(0.0);
        deserialize_str => visit_str("");
        deserialize_string => visit_str("");
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if name == RAW_VALUE {
            return serde_json::Deserializer::from_str(self.0.get())
                .deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let items: Vec<&'de RawValue> = match () {
            () if self.is_null() => Vec::new(),
            () if self.starts_with(b'[') => serde_json::from_str(self.0.get())?,
            () => return self.deserialize_any(visitor),
        };
        visitor.visit_seq(Items(items.into_iter()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let fields = match () {
            () if self.is_null() => Vec::new(),
            () if self.starts_with(b'{') => pairs(self.0)?,
            () => return self.deserialize_any(visitor),
        };
        visitor.visit_map(Fields::new(last_of_each(fields)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let pairs = match () {
            () if self.is_null() => Vec::new(),
            () if self.starts_with(b'{') => pairs(self.0)?,
            // serde would fill a struct from an array, Go does not.
            () if self.starts_with(b'[') => return Err(DeError::invalid_type(Unexpected::Seq, &visitor)),
            () => return self.deserialize_any(visitor),
        };
        visitor.visit_map(Fields::new(matched(pairs, names)))
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple_struct enum identifier ignored_any
    }
}

type Pair<'de> = (String, &'de RawValue);

/// The pairs of an object in the order of the document.
fn pairs(raw: &RawValue) -> Result<Vec<Pair<'_>>, serde_json::Error> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<Pair<'de>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }
    serde_json::Deserializer::from_str(raw.get()).deserialize_map(Pairs)
}

fn last_of_each(pairs: Vec<Pair<'_>>) -> Vec<Pair<'_>> {
    let last: std::collections::BTreeMap<String, &RawValue> = pairs.into_iter().collect();
    last.into_iter().collect()
}

/// The pairs that belong to the fields of a struct, under the fields' own names, `null` left out.
fn matched<'de>(pairs: Vec<Pair<'de>>, names: &[&str]) -> Vec<Pair<'de>> {
    let mut found = Vec::new();
    for name in names {
        let exact = pairs.iter().rfind(|(key, _)| key == name);
        let value = exact.or_else(|| pairs.iter().rfind(|(key, _)| key.eq_ignore_ascii_case(name)));
        if let Some((_, raw)) = value.filter(|(_, raw)| raw.get() != "null") {
            found.push(((*name).to_owned(), *raw));
        }
    }
    found
}

struct Items<'de>(std::vec::IntoIter<&'de RawValue>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = serde_json::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Self::Error> {
        self.0.next().map(|raw| seed.deserialize(Lenient(raw))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Fields<'de> {
    pairs: std::vec::IntoIter<Pair<'de>>,
    value: Option<&'de RawValue>,
}

impl<'de> Fields<'de> {
    fn new(pairs: Vec<Pair<'de>>) -> Fields<'de> {
        Fields { pairs: pairs.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let Some((key, raw)) = self.pairs.next() else { return Ok(None) };
        self.value = Some(raw);
        let key: StrDeserializer<'_, serde_json::Error> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        seed.deserialize(Lenient(self.value.take().unwrap_or(RawValue::NULL)))
    }
}
