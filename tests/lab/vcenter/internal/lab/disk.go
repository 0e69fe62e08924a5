package lab

import (
	"errors"
	"fmt"
	"os"

	"holdfast/tests/lab/vcenter/internal/cbt"
	"holdfast/tests/lab/vcenter/internal/config"
	"holdfast/tests/lab/vcenter/internal/vmfstool"
)

// applyLimit bounds the bytes handed to the tool at once while a delta is merged.
const applyLimit = 8 << 20

var (
	// ErrNoDisk says that the VM has no disk with this key.
	ErrNoDisk = errors.New("no such disk")
	// ErrRange says that a write or a question lies outside the disk.
	ErrRange = errors.New("outside the disk")
)

// disk is one virtual disk; its Machine's lock guards it.
type disk struct {
	config    config.Disk
	tool      *vmfstool.Tool
	tracker   cbt.Tracker
	grain     int64
	pageAreas int
	script    []ScriptedAnswer
	unseen    int // how many more writes change tracking keeps back
	// The base's allocated areas as of the last question that began at 0.
	// Invariant: nil after each write to the base.
	allocated []cbt.Area
}

// Write is a guest's write. It lands on the base disk, or in the newest delta while the VM is
// frozen; the truth image always has it, for truth is what the guest reads back.
func (m *Machine) Write(key int32, offset int64, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.disks[key]
	if d == nil {
		return fmt.Errorf("write to %s: %w: %d", m.name, ErrNoDisk, key)
	}
	if offset < 0 || offset > d.config.Capacity-int64(len(data)) {
		return fmt.Errorf("write of %d bytes at %d of %s: %w of %d bytes",
			len(data), offset, d.config.Flat, ErrRange, d.config.Capacity)
	}
	if len(data) == 0 {
		return nil
	}
	// Tracked first: a write that fails half-way may have changed bytes, and an area too many is
	// legal where one too few is not.
	area := cbt.Area{Offset: offset, Length: int64(len(data))}
	if d.unseen > 0 {
		d.unseen--
	} else {
		d.tracker.Record(area.Round(d.grain, d.config.Capacity))
	}
	if err := m.remember(d, offset, len(data)); err != nil {
		return err
	}
	if err := m.store(d, offset, data); err != nil {
		return fmt.Errorf("write to %s: %w", d.config.Flat, err)
	}
	return d.writeTruth(offset, data)
}

func (m *Machine) store(d *disk, offset int64, data []byte) error {
	if len(m.layers) == 0 {
		return d.writeBase(offset, data)
	}
	position, err := m.delta.append(data)
	if err != nil {
		return err
	}
	m.layers[len(m.layers)-1].overlays[d.config.Key].Insert(
		cbt.Segment{Offset: offset, Length: int64(len(data)), Source: position})
	return nil
}

func (d *disk) writeBase(offset int64, data []byte) error {
	d.allocated = nil
	return d.tool.Write(d.config.Flat, offset, data)
}

// apply puts a delta onto the base.
func (d *disk) apply(overlay *cbt.Overlay, delta *deltaStore) error {
	for _, run := range overlay.Runs(applyLimit) {
		data, err := delta.read(run)
		if err != nil {
			return err
		}
		if err := d.writeBase(run[0].Offset, data); err != nil {
			return err
		}
	}
	return nil
}

// writeTruth changes the image of what the guest sees. The image must exist: making it here
// would hide that the lab forgot to.
func (d *disk) writeTruth(offset int64, data []byte) error {
	if d.config.Truth == "" {
		return nil
	}
	file, err := os.OpenFile(d.config.Truth, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("truth image: %w", err)
	}
	if _, err := file.WriteAt(data, offset); err != nil {
		return errors.Join(fmt.Errorf("truth image: %w", err), file.Close())
	}
	return file.Close()
}
