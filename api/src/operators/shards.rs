//! What the gateway's shards occupy, table by table, and how long what they read waits.

use serde::{Deserialize, Serialize};
use shared::channel::figures::{Delays, ProcessMemory, ShardFigures, TableMemory};
use shared::channel::message::{Command, Reply};
use utoipa::ToSchema;

use super::Refusal;
use crate::app::{App, Unfulfilled};
use crate::config::millis;

/// The gateway at one moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GatewayView {
    /// The process.
    pub process: ProcessView,
    /// In the order of their numbers.
    pub shards: Vec<ShardView>,
}

/// What the gateway's process occupies, in bytes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProcessView {
    /// Everything resident.
    pub resident_bytes: u64,
    /// What of it belongs to no file: heaps, stacks, tables.
    pub anonymous_bytes: u64,
    /// What the allocator has taken from the system.
    pub allocator_bytes: u64,
    /// What the C library's allocator has taken, for the cryptography.
    pub c_allocator_bytes: u64,
    /// What the tables of all shards have reserved.
    pub tables_bytes: u64,
}

/// One shard.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShardView {
    /// Its number.
    pub shard: u16,
    /// What it has, by table.
    pub tables: Vec<TableView>,
    /// From reading what a device sent to handing what follows from it to the kernel.
    pub read_to_send: DelaysView,
    /// How long nothing was read while there was something to do.
    pub unread: DelaysView,
}

/// One table. What hangs on its entries has a name behind a point: `devices.links`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TableView {
    /// Its name.
    pub name: String,
    /// Entries.
    pub entries: u64,
    /// Bytes of the entries.
    pub used_bytes: u64,
    /// Bytes taken for the table.
    pub reserved_bytes: u64,
}

/// Delays since the gateway has started.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DelaysView {
    /// How many.
    pub count: u64,
    /// Half took less than this.
    pub p50_micros: u64,
    /// All but one in a hundred took less than this.
    pub p99_micros: u64,
    /// The longest took this.
    pub max_micros: u64,
    /// How many took less than 1, 2, 4, 8 … microseconds, and not less than half of that.
    pub counts: Vec<u64>,
}

/// Asks all shards.
pub async fn read(app: &App) -> Result<GatewayView, Refusal> {
    let replies = app.shards.ask_all(&Command::ReadFigures, millis(app.timeouts.store_ms)).await;
    let figures = replies.map_err(Unfulfilled::Unanswered)?.into_iter().map(|reply| match reply {
        Reply::Figures(figures) => Ok(*figures),
        Reply::Failed(failure) => Err(Unfulfilled::Failed(failure).into()),
        _ => Err(Unfulfilled::Nonsense.into()),
    });
    Ok(view(figures.collect::<Result<_, Refusal>>()?))
}

fn view(figures: Vec<ShardFigures>) -> GatewayView {
    let process = figures.first().map_or_else(Default::default, |figures| figures.process);
    let shards: Vec<_> = figures.into_iter().map(ShardView::from).collect();
    let tables = shards.iter().flat_map(|shard| &shard.tables);
    let tables_bytes = tables.map(|table| table.reserved_bytes).sum();
    let ProcessMemory { resident_bytes, anonymous_bytes, allocator_bytes, c_allocator_bytes } =
        process;
    let process = ProcessView {
        resident_bytes,
        anonymous_bytes,
        allocator_bytes,
        c_allocator_bytes,
        tables_bytes,
    };
    GatewayView { process, shards }
}

impl From<ShardFigures> for ShardView {
    fn from(figures: ShardFigures) -> Self {
        let ShardFigures { shard, tables, read_to_send, unread, process: _ } = figures;
        let tables = tables.into_iter().map(TableView::from).collect();
        Self { shard, tables, read_to_send: read_to_send.into(), unread: unread.into() }
    }
}

impl From<TableMemory> for TableView {
    fn from(table: TableMemory) -> Self {
        let TableMemory { name, entries, used_bytes, reserved_bytes } = table;
        Self { name, entries, used_bytes, reserved_bytes }
    }
}

impl From<Delays> for DelaysView {
    fn from(Delays { max_micros, counts }: Delays) -> Self {
        Self {
            count: counts.iter().sum(),
            p50_micros: quantile(&counts, 50),
            p99_micros: quantile(&counts, 99),
            max_micros,
            counts,
        }
    }
}

/// What so many of a hundred took less than; 0 when there are none.
fn quantile(counts: &[u64], percent: u64) -> u64 {
    let all: u64 = counts.iter().sum();
    let mut left = (all * percent).div_ceil(100);
    for (length, &count) in counts.iter().enumerate() {
        if count > 0 && count >= left {
            return 1u64 << length.min(63);
        }
        left -= count;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_bounds_below_which_so_many_are() {
        assert_eq!(quantile(&[], 99), 0);
        assert_eq!(quantile(&[0, 0, 0], 50), 0);
        assert_eq!(quantile(&[1], 99), 1);
        let counts = [0, 50, 49, 0, 1];
        assert_eq!((quantile(&counts, 50), quantile(&counts, 99)), (2, 4));
        assert_eq!(quantile(&counts, 100), 16);
    }

    #[test]
    fn the_process_is_told_once_with_the_sum_of_all_tables() {
        let table = |reserved_bytes| TableMemory {
            name: "connections".into(),
            entries: 1,
            used_bytes: 1,
            reserved_bytes,
        };
        let shard = |shard, reserved| ShardFigures {
            shard,
            tables: vec![table(reserved)],
            process: ProcessMemory { resident_bytes: 7, ..ProcessMemory::default() },
            read_to_send: Delays::default(),
            unread: Delays::default(),
        };
        let gateway = view(vec![shard(0, 10), shard(1, 20)]);
        assert_eq!((gateway.process.resident_bytes, gateway.process.tables_bytes), (7, 30));
        assert_eq!(gateway.shards.len(), 2);
    }
}
