//! What to read: cells in the order in which they lie on the LUN.

use model::LunExtent;

/// Where the bytes of a piece come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// These bytes of a LUN.
    Lun(LunExtent),
    /// Zeros that nobody has to read: a hole, or blocks that were never written.
    Zero,
}

/// `length` bytes of a cell, beginning `at` bytes into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset in the cell.
    pub at: u64,
    /// Bytes; equal to the extent's length for [`Source::Lun`].
    pub length: u64,
    /// Where they come from.
    pub source: Source,
}

/// One cell with the pieces that fill it.
///
/// Invariant: `pieces[0].at == 0`, `pieces[i + 1].at == pieces[i].at + pieces[i].length`, and
/// the last piece ends at `length`; no two neighbours could be one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellRead {
    /// Number of the cell in the disk's grid.
    pub cell: u64,
    /// Bytes of the cell (the disk's last one may be short).
    pub length: u64,
    /// The pieces, ascending.
    pub pieces: Vec<Piece>,
}

impl CellRead {
    /// Joins neighbouring pieces and checks that they fill the cell exactly.
    pub fn new(cell: u64, length: u64, pieces: Vec<Piece>) -> Result<Self, PlanError> {
        let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
        let mut filled = 0;
        for piece in pieces {
            if piece.at != filled || piece.length == 0 {
                return Err(PlanError { cell, at: filled });
            }
            filled += piece.length;
            match joined.last_mut() {
                Some(last) if continues(last, &piece) => extend(last, &piece),
                _ => joined.push(piece),
            }
        }
        if filled != length {
            return Err(PlanError { cell, at: filled });
        }
        Ok(Self { cell, length, pieces: joined })
    }

    /// True when nothing has to be read.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.pieces.iter().all(|piece| piece.source == Source::Zero)
    }

    /// Bytes that have to be read from LUNs.
    #[must_use]
    pub fn lun_bytes(&self) -> u64 {
        self.pieces
            .iter()
            .filter(|piece| piece.source != Source::Zero)
            .map(|piece| piece.length)
            .sum()
    }

    fn first_extent(&self) -> Option<LunExtent> {
        self.pieces.iter().find_map(|piece| match piece.source {
            Source::Lun(extent) => Some(extent),
            Source::Zero => None,
        })
    }
}

fn continues(last: &Piece, next: &Piece) -> bool {
    match (last.source, next.source) {
        (Source::Zero, Source::Zero) => true,
        (Source::Lun(a), Source::Lun(b)) => a.device == b.device && a.end() == b.offset,
        _ => false,
    }
}

fn extend(last: &mut Piece, next: &Piece) {
    last.length += next.length;
    if let Source::Lun(extent) = &mut last.source {
        extent.length += next.length;
    }
}

/// The pieces of a cell leave a gap, overlap, or do not end where the cell ends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pieces of cell {cell} do not fit at byte {at}")]
pub struct PlanError {
    cell: u64,
    at: u64,
}

/// Cells in the order of their first byte on the LUN, so that a spinning disk reads forwards;
/// cells without any come first, in the disk's order.
#[derive(Clone, Debug, Default)]
pub struct ReadPlan {
    cells: Vec<CellRead>,
}

impl ReadPlan {
    /// Sorts the cells.
    #[must_use]
    pub fn new(mut cells: Vec<CellRead>) -> Self {
        cells.sort_by_key(|cell| (cell.first_extent().map(|e| (e.device, e.offset)), cell.cell));
        Self { cells }
    }

    /// Bytes that will be read from LUNs.
    #[must_use]
    pub fn lun_bytes(&self) -> u64 {
        self.cells.iter().map(CellRead::lun_bytes).sum()
    }

    /// The cells, in reading order.
    #[must_use]
    pub fn cells(&self) -> &[CellRead] {
        &self.cells
    }

    /// The cells, in reading order.
    #[must_use]
    pub fn into_cells(self) -> Vec<CellRead> {
        self.cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lun(at: u64, length: u64, offset: u64) -> Piece {
        Piece { at, length, source: Source::Lun(LunExtent { device: 0, offset, length }) }
    }

    fn zero(at: u64, length: u64) -> Piece {
        Piece { at, length, source: Source::Zero }
    }

    #[test]
    fn neighbours_become_one_read() {
        let cell = CellRead::new(3, 40, vec![lun(0, 10, 100), lun(10, 10, 110), zero(20, 20)]);
        assert_eq!(cell.unwrap().pieces, [lun(0, 20, 100), zero(20, 20)]);
    }

    #[test]
    fn a_gap_an_overlap_and_a_short_cell_are_refused() {
        for pieces in [
            vec![lun(0, 10, 100), lun(11, 29, 300)],
            vec![lun(0, 10, 100), lun(9, 31, 300)],
            vec![lun(0, 10, 100)],
            vec![],
        ] {
            assert!(CellRead::new(0, 40, pieces).is_err());
        }
    }

    #[test]
    fn cells_are_read_in_the_order_of_the_lun() {
        let cell = |number, offset| CellRead::new(number, 10, vec![lun(0, 10, offset)]).unwrap();
        let plan = ReadPlan::new(vec![cell(0, 500), cell(1, 20), cell(2, 300)]);
        let order: Vec<_> = plan.cells().iter().map(|cell| cell.cell).collect();
        assert_eq!(order, [1, 2, 0]);
        assert_eq!(plan.lun_bytes(), 30);
    }
}
