package vim

import (
	"log"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// snapshotWatch is told by the simulator's registry of every object that comes or goes. The
// simulator's own snapshots are metadata only; here they get their effect on the disks.
//
// Both callbacks for snapshots run inside the simulator's task, which holds the VM's lock: the VM
// may be changed, and the task does not end before the deltas are where they belong.
type snapshotWatch struct{ site *Site }

// unmerged notes the snapshots that are being removed with consolidate=false, which the
// simulator's own method ignores.
type unmerged struct {
	sync.Mutex
	refs map[types.ManagedObjectReference]bool
}

func (u *unmerged) add(ref types.ManagedObjectReference) {
	u.Lock()
	defer u.Unlock()
	if u.refs == nil {
		u.refs = map[types.ManagedObjectReference]bool{}
	}
	u.refs[ref] = true
}

func (u *unmerged) take(ref types.ManagedObjectReference) bool {
	u.Lock()
	defer u.Unlock()
	found := u.refs[ref]
	delete(u.refs, ref)
	return found
}

// Reference is a name of its own, as the registry wants one of each handler.
func (w *snapshotWatch) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "LabSnapshotWatch", Value: "lab-snapshot-watch"}
}

// UpdateObject has nothing to do.
func (w *snapshotWatch) UpdateObject(*simulator.Context, mo.Reference, []types.PropertyChange) {}

// PutObject sees new snapshots, and new tasks.
func (w *snapshotWatch) PutObject(ctx *simulator.Context, object mo.Reference) {
	switch o := object.(type) {
	case *simulator.VirtualMachineSnapshot:
		w.created(ctx, o)
	case *simulator.Task:
		nameLikeVCenter(o)
	}
}

// nameLikeVCenter gives a task the name of its method: RemoveSnapshot_Task, where the simulator
// says RemoveSnapshot. pyVmomi's WaitForTask stumbles over the latter when a task takes a while.
func nameLikeVCenter(task *simulator.Task) {
	method := task.Info.Name + "_Task"
	if _, exists := types.TypeFunc()(method); exists {
		task.Info.Name = method
	}
}

// created freezes the disks of a VM that has just got a snapshot, and stamps the change ids
// into the snapshot's own copy of the configuration.
func (w *snapshotWatch) created(
	ctx *simulator.Context, snapshot *simulator.VirtualMachineSnapshot,
) {
	guest := w.site.byRef[snapshot.Vm]
	vm, ok := ctx.Map.Get(snapshot.Vm).(*simulator.VirtualMachine)
	if guest == nil || !ok {
		return
	}
	ids := guest.Machine.Freeze(snapshot.Self.Value, tracking(vm))
	chain, _ := guest.Machine.Chain(snapshot.Self.Value) // known: it was made one line above
	snapshot.Config.Hardware.Device = w.site.withChain(
		guest, snapshot.Config.Hardware.Device, chain, ids)
	w.site.showChain(ctx, guest, vm)
}

// RemoveObject merges the deltas of snapshots that are gone. What could not be merged shows as
// runtime.consolidationNeeded; the removal itself has succeeded then, as on a host.
func (w *snapshotWatch) RemoveObject(ctx *simulator.Context, ref types.ManagedObjectReference) {
	snapshot, ok := ctx.Map.Get(ref).(*simulator.VirtualMachineSnapshot)
	if !ok {
		return
	}
	guest := w.site.byRef[snapshot.Vm]
	vm, ok := ctx.Map.Get(snapshot.Vm).(*simulator.VirtualMachine)
	if guest == nil || !ok {
		return
	}
	exists := map[string]bool{}
	if vm.Snapshot != nil {
		collect(vm.Snapshot.RootSnapshotList, exists)
	}
	consolidate := !w.site.unmerged.take(ref)
	needed, err := guest.Machine.Release(exists, consolidate, tracking(vm))
	if err != nil {
		log.Printf("vcenter: %s: %v", guest.Config.Name, err)
	}
	w.site.showMerged(ctx, guest, vm, needed)
}

// showMerged puts the chains and the need for consolidation into the VM and the snapshots that
// are left. The caller holds the VM's lock.
func (s *Site) showMerged(
	ctx *simulator.Context, guest *Guest, vm *simulator.VirtualMachine, needed bool,
) {
	s.showChain(ctx, guest, vm)
	ctx.Update(vm, []types.PropertyChange{
		{Name: "runtime.consolidationNeeded", Val: needed},
	})
	left := map[string]bool{}
	if vm.Snapshot != nil {
		collect(vm.Snapshot.RootSnapshotList, left)
	}
	for value := range left {
		ref := types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: value}
		snapshot, ok := ctx.Map.Get(ref).(*simulator.VirtualMachineSnapshot)
		if !ok {
			continue
		}
		chain, _ := guest.Machine.Chain(value)
		ctx.WithLock(snapshot, func() {
			devices := snapshot.Config.Hardware.Device
			snapshot.Config.Hardware.Device = s.withChain(guest, devices, chain, changeIDs(devices))
		})
	}
}

// showChain lets the running VM show the newest delta as its disks' file.
func (s *Site) showChain(ctx *simulator.Context, guest *Guest, vm *simulator.VirtualMachine) {
	chain, _ := guest.Machine.Chain("")
	ctx.Update(vm, []types.PropertyChange{{
		Name: "config.hardware.device",
		Val:  s.withChain(guest, vm.Config.Hardware.Device, chain, nil),
	}})
}

func tracking(vm *simulator.VirtualMachine) bool {
	return vm.Config.ChangeTrackingEnabled != nil && *vm.Config.ChangeTrackingEnabled
}

func collect(tree []types.VirtualMachineSnapshotTree, into map[string]bool) {
	for _, node := range tree {
		into[node.Snapshot.Value] = true
		collect(node.ChildSnapshotList, into)
	}
}

func changeIDs(devices []types.BaseVirtualDevice) map[int32]string {
	ids := map[int32]string{}
	for _, device := range devices {
		if disk, ok := device.(*types.VirtualDisk); ok {
			if backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
				ids[disk.Key] = backing.ChangeId
			}
		}
	}
	return ids
}
