//! L1: reading bytes at an offset, the chunk grid, and the plan of what to read.
//!
//! What this is: [`ReadAt`], the one trait through which parsers see a device; [`Grid`], which
//! rounds ranges of a disk out to whole cells; [`ReadPlan`], the sorted list of cells with the
//! pieces of LUN that fill each. What it is not: a transport. Nothing here can write.
//!
//! ```text
//! changed areas -> Grid::cells -> (vmdk, vmfs map) -> ReadPlan -> san::Lun -> chunks
//! ```

mod grid;
mod plan;
mod read_at;

pub use grid::Grid;
pub use plan::{CellRead, Piece, PlanError, ReadPlan, Source};
pub use read_at::{ReadAt, ReadError, Slice};
