package lab

import (
	"errors"
	"fmt"

	"holdfast/tests/lab/vcenter/internal/cbt"
)

// ErrNoSnapshot says that a question named a snapshot that this VM does not have.
var ErrNoSnapshot = errors.New("no such snapshot")

// ScriptedAnswer replaces one answer of QueryChangedDiskAreas, word for word. It is how a test
// lets the server say something wrong: areas that overlap, run backwards, are missing or too long.
type ScriptedAnswer struct {
	StartOffset int64      `json:"start_offset"`
	Length      int64      `json:"length"`
	Areas       []cbt.Area `json:"areas"`
}

// Query answers "what changed on this disk between since and the snapshot, from start on".
// since may be cbt.Everything: all areas that are allocated in the snapshot.
// snapshot "" means the disk as it is now.
func (m *Machine) Query(key int32, snapshot, since string, start int64) (cbt.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.disks[key]
	if d == nil {
		return cbt.Page{}, fmt.Errorf("%w: %d", ErrNoDisk, key)
	}
	if start < 0 || start >= d.config.Capacity {
		return cbt.Page{}, fmt.Errorf("startOffset %d: %w of %d bytes", start, ErrRange, d.config.Capacity)
	}
	if len(d.script) > 0 {
		answer := d.script[0]
		d.script = d.script[1:]
		return cbt.Page{Start: answer.StartOffset, Length: answer.Length, Areas: answer.Areas}, nil
	}
	below, until, err := m.locate(d, snapshot)
	if err != nil {
		return cbt.Page{}, err
	}
	var areas []cbt.Area
	if since == cbt.Everything {
		areas, err = d.everything(below, until, start)
	} else {
		areas, err = d.changed(since, until, snapshot == "")
	}
	if err != nil {
		return cbt.Page{}, err
	}
	return cbt.Cut(areas, start, d.config.Capacity, d.pageAreas), nil
}

// locate finds what a snapshot consists of above the base, and its change id.
func (m *Machine) locate(d *disk, snapshot string) (below []*layer, until cbt.ChangeID, err error) {
	if snapshot == "" {
		return m.layers, d.tracker.Last(), nil
	}
	for i, l := range m.layers {
		if l.snapshot == snapshot {
			return m.layers[:i], l.stamps[d.config.Key], nil
		}
	}
	return nil, until, fmt.Errorf("%w: %s", ErrNoSnapshot, snapshot)
}

// everything needs tracking to be on, as on a host, though it answers from the allocation.
// The base can't change under a chain of questions while a snapshot freezes it, so the volume
// is only looked at when a chain begins.
func (d *disk) everything(below []*layer, until cbt.ChangeID, start int64) ([]cbt.Area, error) {
	if until.Epoch == "" {
		return nil, cbt.ErrUnusable
	}
	if start == 0 || d.allocated == nil {
		areas, err := d.tool.Map(d.config.Flat)
		if err != nil {
			return nil, err
		}
		d.allocated = areas
	}
	all := append([]cbt.Area{}, d.allocated...)
	for _, l := range below {
		for _, a := range l.overlays[d.config.Key].Areas() {
			all = append(all, a.Round(d.grain, d.config.Capacity))
		}
	}
	return cbt.Normalise(all), nil
}

func (d *disk) changed(since string, until cbt.ChangeID, now bool) ([]cbt.Area, error) {
	id, err := cbt.ParseChangeID(since)
	if err != nil {
		return nil, err
	}
	if now {
		return d.tracker.Since(id)
	}
	return d.tracker.Between(id, until)
}

// ResetTracking starts a new epoch, as a host does after a power loss. With no tracking there
// is nothing to reset, and it says so.
func (m *Machine) ResetTracking(key int32) error {
	return m.with(key, func(d *disk) error {
		if !d.tracker.Active() {
			return fmt.Errorf("change tracking of %s: %w", d.config.Flat, cbt.ErrUnusable)
		}
		d.tracker.Reset(newEpoch())
		return nil
	})
}

// Script replaces the next answers for one disk; no answers = back to the truth at once.
func (m *Machine) Script(key int32, answers []ScriptedAnswer) error {
	return m.with(key, func(d *disk) error {
		d.script = answers
		return nil
	})
}

// KeepBack makes change tracking miss the next n writes to one disk.
func (m *Machine) KeepBack(key int32, n int) error {
	return m.with(key, func(d *disk) error {
		d.unseen = n
		return nil
	})
}

// PageAreas sets how many areas one answer holds, for all disks.
func (m *Machine) PageAreas(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.disks {
		d.pageAreas = n
	}
}

func (m *Machine) with(key int32, action func(*disk) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.disks[key]; d != nil {
		return action(d)
	}
	return fmt.Errorf("%s: %w: %d", m.name, ErrNoDisk, key)
}
