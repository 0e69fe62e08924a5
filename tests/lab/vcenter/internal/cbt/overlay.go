package cbt

import "slices"

// Segment says that the bytes [Offset, Offset+Length) of a disk are kept at Source, a position
// in the store of delta bytes.
type Segment struct {
	Offset int64
	Length int64
	Source int64
}

func (s Segment) end() int64 { return s.Offset + s.Length }

// part is the piece of the segment inside [from, to), which must not be empty.
func (s Segment) part(from, to int64) Segment {
	return Segment{Offset: from, Length: to - from, Source: s.Source + from - s.Offset}
}

// Overlay is what a frozen disk is owed: the newest bytes written over it.
// Invariant: segments ascend and do not overlap.
type Overlay struct {
	segments []Segment
}

// Insert lays a segment over whatever was there.
func (o *Overlay) Insert(s Segment) {
	if s.Length <= 0 {
		return
	}
	first, _ := slices.BinarySearchFunc(o.segments, s.Offset, func(e Segment, at int64) int {
		if e.end() <= at {
			return -1
		}
		return 1
	})
	var replacement []Segment
	last := first
	for ; last < len(o.segments) && o.segments[last].Offset < s.end(); last++ {
		if e := o.segments[last]; e.Offset < s.Offset {
			replacement = append(replacement, e.part(e.Offset, s.Offset))
		}
	}
	replacement = append(replacement, s)
	if last > first {
		if e := o.segments[last-1]; e.end() > s.end() {
			replacement = append(replacement, e.part(s.end(), e.end()))
		}
	}
	o.segments = slices.Replace(o.segments, first, last, replacement...)
}

// Merge lays all of upper over this overlay; both must point into the same store.
func (o *Overlay) Merge(upper *Overlay) {
	for _, s := range upper.segments {
		o.Insert(s)
	}
}

// Areas is where the overlay holds bytes.
func (o *Overlay) Areas() []Area {
	areas := make([]Area, 0, len(o.segments))
	for _, s := range o.segments {
		areas = append(areas, Area{Offset: s.Offset, Length: s.Length})
	}
	return Normalise(areas)
}

// Runs groups neighbouring segments so that each group is one contiguous write of at most limit
// bytes; a segment longer than limit is split.
func (o *Overlay) Runs(limit int64) [][]Segment {
	var runs [][]Segment
	var size int64
	for _, s := range o.segments {
		for from := s.Offset; from < s.end(); {
			n := len(runs)
			joins := n > 0 && size < limit && runs[n-1][len(runs[n-1])-1].end() == from
			if !joins {
				runs, size = append(runs, nil), 0
			}
			piece := s.part(from, min(s.end(), from+limit-size))
			runs[len(runs)-1] = append(runs[len(runs)-1], piece)
			size += piece.Length
			from = piece.end()
		}
	}
	return runs
}
