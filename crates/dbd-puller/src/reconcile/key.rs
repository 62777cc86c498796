//! A key in the compact form in which many are held: the JSON array of its values.

use serde_json::value::RawValue;

use crate::client::KeyValues;

/// The JSON array of a key's values.
pub(crate) type KeyText = Box<str>;

/// The text of a key.
pub(crate) fn text(values: &[String]) -> KeyText {
    format!("[{}]", values.join(",")).into()
}

/// The values of a key.
pub(crate) fn values(text: &str) -> KeyValues {
    // It was made of values that are valid.
    let values: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    values.iter().map(|value| value.get().to_owned()).collect()
}
