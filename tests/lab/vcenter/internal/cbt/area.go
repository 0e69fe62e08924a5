// Package cbt is the bookkeeping of changed block tracking: areas, change ids, what changed
// between two snapshots, how an answer is cut into pages, and which bytes a frozen disk is owed.
//
// It is pure: no files, no clock, no randomness that is not passed in. Everything here can be
// tested with numbers alone, because a mistake here would make every later test lie.
package cbt

import "slices"

// SectorSize is the smallest unit a guest writes and an area is rounded out to, in bytes.
const SectorSize = 512

// Area is a range of a disk, in bytes.
type Area struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// End is the first byte after the area.
func (a Area) End() int64 { return a.Offset + a.Length }

// Clip cuts the area to [from, to); the result has length 0 when nothing is left.
func (a Area) Clip(from, to int64) Area {
	start, end := max(a.Offset, from), min(a.End(), to)
	if end <= start {
		return Area{Offset: start}
	}
	return Area{Offset: start, Length: end - start}
}

// Round widens the area outwards to multiples of grain, never past capacity.
// Too much is legal in an answer, too little is not.
func (a Area) Round(grain, capacity int64) Area {
	start := a.Offset - a.Offset%grain
	end := a.End()
	if rest := end % grain; rest != 0 {
		end += grain - rest
	}
	return Area{Offset: start, Length: min(end, capacity) - start}
}

// Normalise returns the same bytes as ascending areas that neither overlap nor touch.
// The argument is left alone.
func Normalise(areas []Area) []Area {
	sorted := slices.Clone(areas)
	slices.SortFunc(sorted, func(a, b Area) int {
		switch {
		case a.Offset < b.Offset:
			return -1
		case a.Offset > b.Offset:
			return 1
		}
		return 0
	})
	merged := sorted[:0]
	for _, a := range sorted {
		if a.Length <= 0 {
			continue
		}
		if n := len(merged); n > 0 && a.Offset <= merged[n-1].End() {
			merged[n-1].Length = max(merged[n-1].End(), a.End()) - merged[n-1].Offset
			continue
		}
		merged = append(merged, a)
	}
	return merged
}

// Page is one answer of QueryChangedDiskAreas: it speaks for [Start, Start+Length) and for
// nothing beyond, which is why a client has to go on at its end.
type Page struct {
	Start  int64
	Length int64
	Areas  []Area
}

// Cut makes the answer for a question at start: at most limit areas, and no claim past the last
// of them when there are more. areas must be normalised and start below capacity.
func Cut(areas []Area, start, capacity int64, limit int) Page {
	page := Page{Start: start, Length: capacity - start}
	for _, a := range areas {
		clipped := a.Clip(start, capacity)
		if clipped.Length == 0 {
			continue
		}
		if len(page.Areas) == limit {
			page.Length = page.Areas[limit-1].End() - start
			return page
		}
		page.Areas = append(page.Areas, clipped)
	}
	return page
}
