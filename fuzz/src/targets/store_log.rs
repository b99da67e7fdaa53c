//! The log of the store as power cuts and damaged disks leave it.
//!
//! What must hold: an undamaged log gives every write back; a torn one gives a prefix, or is called
//! damaged; nothing that was not written comes out.

use gateway::io::store::fuzzing::{is_ours, read_segment, write_segment};
use gateway::store::{Batch, Key, Table};
use shared::ids::CloudId;
use shared::placement::PartitionId;

use crate::{Choices, bounded};

const SALT: u64 = 0x5a17_0000_c0de;

/// One input: batches, and what becomes of their bytes.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let _ = is_ours(Some(data), CloudId::from_bytes([1; 16]));
    if choices.byte() % 8 == 0 {
        let _ = bounded(data.len(), || read_segment(choices.bytes(usize::MAX), SALT, |_, _| {}));
        return;
    }
    let (mut groups, mut written) = (Vec::new(), Vec::new());
    for _ in 0..choices.byte() % 4 {
        let mut batch = Batch::new();
        for _ in 0..choices.byte() % 4 {
            let partition = PartitionId::new(u16::from(choices.byte())).expect("a small number");
            let key = Key::new(partition, Table::User, choices.some(20));
            let value = (choices.byte() % 4 > 0).then(|| choices.some(200).to_vec());
            written.push((key.as_bytes().to_vec(), value.clone()));
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        groups.push(vec![batch]);
    }
    let sealed = choices.byte() % 2 == 0;
    let mut bytes = write_segment(SALT, 7, &groups, sealed);
    let mut intact = true;
    while !choices.is_empty() && !bytes.is_empty() {
        intact = false;
        let at = choices.number() % bytes.len();
        match choices.byte() % 4 {
            0 => bytes.truncate(at),
            1 => bytes[at / 512 * 512..].fill(0),
            _ => bytes[at] ^= choices.byte(),
        }
    }
    let mut count = 0;
    let read = bounded(bytes.len(), || {
        read_segment(&bytes, SALT, |key, value| {
            let (known, expected) = &written[count];
            assert!(key == known && value == expected.as_deref(), "nobody wrote this");
            count += 1;
        })
    });
    if intact {
        let expected =
            if groups.is_empty() && !sealed { (0, false) } else { (written.len(), sealed) };
        assert_eq!(read, Some(expected));
    }
}
