//! Bodies written again as this cloud emits them.

use super::{CborError, Item, Reader, Writer};

/// Writes one item again as this cloud emits it: definite lengths, shortest integers, double floats.
/// The input must have passed [`scan`].
pub fn transcode(reader: &mut Reader<'_>, out: &mut Writer<'_>) -> Result<(), CborError> {
    let item = reader.next_item()?;
    match item {
        Item::Unsigned(value) => drop(out.unsigned(value)),
        Item::Negative(value) => drop(out.negative(value)),
        Item::Bytes(value) => drop(out.bytes(value)),
        Item::Text(value) => drop(out.text(value)),
        Item::BytesStart | Item::TextStart => transcode_chunks(reader, out, item)?,
        Item::Array(len) => {
            let len = count(reader, len)?;
            out.array(len.entries);
            for _ in 0..len.entries {
                transcode(reader, out)?;
            }
            len.end(reader)?;
        }
        Item::Map(len) => {
            let len = count(reader, len.map(|pairs| pairs.saturating_mul(2)))?;
            out.map(len.entries / 2);
            for _ in 0..len.entries {
                transcode(reader, out)?;
            }
            len.end(reader)?;
        }
        // Tags are skipped: device stacks do not know them.
        Item::Tag(_) => transcode(reader, out)?,
        Item::Bool(value) => drop(out.bool(value)),
        Item::Null | Item::Simple(_) => drop(out.null()),
        Item::Float(value) => drop(out.double(value)),
        Item::Break => return Err(CborError::Malformed),
    }
    Ok(())
}

/// How many items a container holds, and whether a break ends it.
struct Count {
    entries: usize,
    ends_with_break: bool,
}

impl Count {
    fn end(&self, reader: &mut Reader<'_>) -> Result<(), CborError> {
        match self.ends_with_break && reader.next_item()? != Item::Break {
            true => Err(CborError::Malformed),
            false => Ok(()),
        }
    }
}

fn count(reader: &Reader<'_>, len: Option<u64>) -> Result<Count, CborError> {
    if let Some(len) = len {
        let entries = usize::try_from(len).map_err(|_| CborError::CutShort)?;
        return Ok(Count { entries, ends_with_break: false });
    }
    let mut ahead = reader.clone();
    let mut entries = 0;
    while !ahead.is_at_break() {
        ahead.skip()?;
        entries += 1;
    }
    Ok(Count { entries, ends_with_break: true })
}

fn transcode_chunks(
    reader: &mut Reader<'_>,
    out: &mut Writer<'_>,
    kind: Item<'_>,
) -> Result<(), CborError> {
    let mut whole = Vec::new();
    loop {
        match reader.next_item()? {
            Item::Bytes(chunk) => whole.extend_from_slice(chunk),
            Item::Text(chunk) => whole.extend_from_slice(chunk.as_bytes()),
            Item::Break => break,
            _ => return Err(CborError::Malformed),
        }
    }
    match kind {
        Item::TextStart => {
            out.text(std::str::from_utf8(&whole).map_err(|_| CborError::NotUtf8)?);
        }
        _ => drop(out.bytes(&whole)),
    }
    Ok(())
}
