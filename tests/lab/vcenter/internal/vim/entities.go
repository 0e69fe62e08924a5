package vim

import (
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"holdfast/tests/lab/vcenter/internal/lab"
)

// SnapshotState is one snapshot as vCenter shows it.
type SnapshotState struct {
	Ref         string `json:"ref"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Quiesced    bool   `json:"quiesced"`
}

// GuestState is one VM as vCenter shows it, and the disks behind it.
type GuestState struct {
	Name                string          `json:"name"`
	Ref                 string          `json:"ref"`
	CBTEnabled          bool            `json:"cbt_enabled"`
	ConsolidationNeeded bool            `json:"consolidation_needed"`
	DisabledMethods     []string        `json:"disabled_methods"`
	Snapshots           []SnapshotState `json:"snapshots"` // parents before children
	lab.State
}

// State looks at one VM.
func (s *Site) State(guest *Guest) GuestState {
	state := GuestState{
		Name: guest.Config.Name, Ref: guest.ref.Value, State: guest.Machine.State(),
		DisabledMethods: []string{}, Snapshots: []SnapshotState{},
	}
	ctx := s.fresh()
	vm, ok := ctx.Map.Get(guest.ref).(*simulator.VirtualMachine)
	if !ok {
		return state // somebody has removed it
	}
	ctx.WithLock(vm, func() {
		state.CBTEnabled = tracking(vm)
		state.ConsolidationNeeded = vm.Runtime.ConsolidationNeeded
		state.DisabledMethods = append(state.DisabledMethods, vm.DisabledMethod...)
		if vm.Snapshot != nil {
			state.Snapshots = flatten(vm.Snapshot.RootSnapshotList, state.Snapshots)
		}
	})
	return state
}

func flatten(tree []types.VirtualMachineSnapshotTree, into []SnapshotState) []SnapshotState {
	for _, node := range tree {
		into = append(into, SnapshotState{
			Ref: node.Snapshot.Value, Name: node.Name, Description: node.Description,
			Quiesced: node.Quiesced,
		})
		into = flatten(node.ChildSnapshotList, into)
	}
	return into
}

// DisableMethods adds or removes methods of a VM that may not be called; false when the VM is
// unknown. Each is listed twice: RelocateVM_Task is what clients read, RelocateVMTask is what the
// simulator's dispatcher obeys.
func (s *Site) DisableMethods(value string, names []string, disable bool) bool {
	ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: value}
	if s.byRef[ref] == nil {
		return false
	}
	ctx := s.fresh()
	vm := ctx.Map.Get(ref).(*simulator.VirtualMachine)
	ctx.WithLock(vm, func() {
		list := slices.Clone(vm.DisabledMethod)
		for _, name := range names {
			for _, spelling := range spellings(name) {
				list = slices.DeleteFunc(list, func(have string) bool { return have == spelling })
				if disable {
					list = append(list, spelling)
				}
			}
		}
		ctx.Update(vm, []types.PropertyChange{{Name: "disabledMethod", Val: list}})
	})
	return true
}

func spellings(method string) []string {
	if stem, found := strings.CutSuffix(method, "_Task"); found {
		return []string{method, stem + "Task"}
	}
	return []string{method}
}

// FailedTask makes a task of the given object that ends in the fault, and returns its reference.
func (s *Site) FailedTask(
	of types.ManagedObjectReference, method string, fault types.BaseMethodFault,
) types.ManagedObjectReference {
	name := strings.TrimSuffix(method, "_Task")
	task := simulator.CreateTask(of, strings.ToLower(name[:1])+name[1:],
		func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { return nil, fault })
	return task.Run(s.fresh())
}

// Sessions lists the keys of all live sessions.
func (s *Site) Sessions() []string {
	registry := s.model.Map()
	view := &simulator.Session{Registry: simulator.NewRegistry(), Map: registry}
	manager, ok := view.Get(registry.SessionManager().Self).(*simulator.SessionManager)
	if !ok {
		return nil
	}
	keys := []string{}
	for _, session := range manager.SessionList {
		keys = append(keys, session.Key)
	}
	return keys
}

// ExpireSessions ends all sessions, as idling out does.
func (s *Site) ExpireSessions() int {
	keys := s.Sessions()
	ctx := s.fresh()
	ctx.Session = &simulator.Session{} // nobody's: a session cannot terminate itself
	ctx.Map.SessionManager().TerminateSession(ctx, &types.TerminateSession{SessionId: keys})
	return len(keys)
}
