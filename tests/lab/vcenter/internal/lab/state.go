package lab

import "holdfast/tests/lab/vcenter/internal/cbt"

// DiskState is what a test may want to know of a disk.
type DiskState struct {
	Key            int32      `json:"key"`
	Tracking       bool       `json:"tracking"`         // has taken effect
	ChangeID       string     `json:"change_id"`        // given out last, "" while tracking is off
	ChangedSince   []cbt.Area `json:"changed_since"`    // written since then
	DeltaAreas     []cbt.Area `json:"delta_areas"`      // written and not yet on the base
	ScriptedToCome int        `json:"scripted_to_come"` // answers still to be replaced
}

// State is what a test may want to know of a VM's disks.
type State struct {
	Layers     int         `json:"layers"`
	DeltaBytes int64       `json:"delta_bytes"`
	Disks      []DiskState `json:"disks"`
}

// State looks at everything at one moment.
func (m *Machine) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	state := State{Layers: len(m.layers), DeltaBytes: m.delta.used, Disks: []DiskState{}}
	for _, key := range m.keys {
		d := m.disks[key]
		one := DiskState{
			Key: key, Tracking: d.tracker.Active(), ChangeID: d.tracker.Last().String(),
			ScriptedToCome: len(d.script), ChangedSince: []cbt.Area{},
		}
		if areas, err := d.tracker.Since(d.tracker.Last()); err == nil {
			one.ChangedSince = areas
		}
		var delta []cbt.Area
		for _, l := range m.layers {
			delta = append(delta, l.overlays[key].Areas()...)
		}
		one.DeltaAreas = append([]cbt.Area{}, cbt.Normalise(delta)...)
		state.Disks = append(state.Disks, one)
	}
	return state
}
