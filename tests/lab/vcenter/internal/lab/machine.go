// Package lab is what stands behind the simulator's virtual machines: disks whose bytes lie on
// a LUN, guests that write to them, snapshots that freeze them.
//
// It knows nothing of SOAP. The simulator's side tells it "snapshot X now exists" or "is gone" and
// asks it what changed; the control port tells it what the guest writes.
//
// Layers: a VM has one layer per snapshot (or per snapshot that was removed without consolidation).
// layers[0] lies on the base disk and holds what was written after the oldest snapshot; only the
// last layer is written to; with no layers the guest writes to the base. Removing snapshot k merges
// layer k into what lies below it, exactly as a linear chain of delta disks is consolidated.
package lab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"holdfast/tests/lab/vcenter/internal/cbt"
	"holdfast/tests/lab/vcenter/internal/config"
	"holdfast/tests/lab/vcenter/internal/vmfstool"
)

// ErrLocked is the ordered failure of a consolidation: somebody holds the disk's files.
var ErrLocked = errors.New("the disk's files are locked")

// layer is the delta above one snapshot.
type layer struct {
	snapshot string // reference of the snapshot below it; "" once that is removed
	number   int    // of the delta's file name, as in web01-000001.vmdk
	overlays map[int32]*cbt.Overlay
	stamps   map[int32]cbt.ChangeID
	before   map[int32][]replaced // of the truth images, oldest first
}

// Machine is one VM's disks. All methods may be called at any time from anywhere.
type Machine struct {
	mu     sync.Mutex
	name   string
	disks  map[int32]*disk
	keys   []int32 // of disks, in configured order
	layers []*layer
	delta  deltaStore
	files  int // delta files ever made, for their numbers
	locked int // how many more consolidations fail with ErrLocked
}

// NewMachine builds the VM's disks over the given tool.
func NewMachine(vm config.VM, c *config.Config, tool *vmfstool.Tool) *Machine {
	m := &Machine{name: vm.Name, disks: map[int32]*disk{}}
	m.delta.limit = c.DeltaLimit
	for _, d := range vm.Disks {
		m.keys = append(m.keys, d.Key)
		m.disks[d.Key] = &disk{
			config: d, tool: tool, grain: c.Granularity, pageAreas: c.PageAreas,
		}
	}
	return m
}

// Freeze is the stun of a snapshot's creation: a changed tracking setting takes effect, each
// disk gets its change id, and from here on the guest writes to a new delta.
// It returns the change ids by disk key; an empty one means that tracking is off.
func (m *Machine) Freeze(snapshot string, tracking bool) map[int32]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files++
	top := &layer{
		snapshot: snapshot, number: m.files,
		overlays: map[int32]*cbt.Overlay{}, stamps: map[int32]cbt.ChangeID{},
	}
	ids := map[int32]string{}
	for key, d := range m.disks {
		d.tracker.Stun(tracking, newEpoch)
		top.overlays[key] = &cbt.Overlay{}
		top.stamps[key] = d.tracker.Stamp()
		ids[key] = top.stamps[key].String()
	}
	m.layers = append(m.layers, top)
	return ids
}

// Release says which snapshots still exist. Layers of the others lose their snapshot, and with
// consolidate they are merged downwards. The removal is a stun too: tracking takes effect.
// It reports whether layers without a snapshot are left, which vSphere calls "consolidation needed".
func (m *Machine) Release(exists map[string]bool, consolidate, tracking bool) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.layers {
		if !exists[l.snapshot] {
			l.snapshot = ""
		}
	}
	var err error
	if consolidate {
		err = m.consolidate()
	}
	for _, d := range m.disks {
		d.tracker.Stun(tracking, newEpoch)
	}
	return m.orphan() >= 0, err
}

// Consolidate merges every layer whose snapshot is gone.
func (m *Machine) Consolidate() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.consolidate()
}

func (m *Machine) consolidate() error {
	for at := m.orphan(); at >= 0; at = m.orphan() {
		if m.locked > 0 {
			m.locked--
			return fmt.Errorf("consolidate %s: %w", m.name, ErrLocked)
		}
		if err := m.mergeDown(at); err != nil {
			return fmt.Errorf("consolidate %s: %w", m.name, err)
		}
		m.layers = append(m.layers[:at], m.layers[at+1:]...)
	}
	if len(m.layers) == 0 {
		return m.delta.clear()
	}
	return nil
}

func (m *Machine) orphan() int {
	for i, l := range m.layers {
		if l.snapshot == "" {
			return i
		}
	}
	return -1
}

func (m *Machine) mergeDown(at int) error {
	for _, key := range m.keys {
		overlay := m.layers[at].overlays[key]
		if at > 0 {
			m.layers[at-1].overlays[key].Merge(overlay)
			m.layers[at-1].append(key, m.layers[at].before[key])
		} else if err := m.disks[key].apply(overlay, &m.delta); err != nil {
			return err
		}
	}
	return nil
}

// LockFiles makes the next n consolidations fail with ErrLocked.
func (m *Machine) LockFiles(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.locked = n
}

// Chain returns the numbers of the delta files above the base, oldest first, that the given
// snapshot consists of; the running VM's for "". ok is false for a snapshot it does not know.
func (m *Machine) Chain(snapshot string) (numbers []int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.layers {
		if snapshot != "" && l.snapshot == snapshot {
			return numbers, true
		}
		numbers = append(numbers, l.number)
	}
	return numbers, snapshot == ""
}

// newEpoch is a random change tracking epoch.
func newEpoch() string {
	var id [16]byte
	rand.Read(id[:]) // never fails: the runtime stops the program when it can't give randomness
	return cbt.EpochText(id)
}
