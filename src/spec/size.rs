//! The size of a terminal as JSON: `[rows, columns]`, or null.

use husk_init::job::Size;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes it.
pub fn serialize<S: Serializer>(size: &Option<Size>, to: S) -> Result<S::Ok, S::Error> {
    size.map(|size| (size.rows, size.columns)).serialize(to)
}

/// Reads it.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Size>, D::Error> {
    let pair = Option::<(u16, u16)>::deserialize(from)?;
    Ok(pair.map(|(rows, columns)| Size { rows, columns }))
}
