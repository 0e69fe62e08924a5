package main

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"holdfast/tests/lab/vcenter/internal/cbt"
)

func newSessionManager(c *vim25.Client) *session.Manager { return session.NewManager(c) }

// One full backup cycle and one incremental, by somebody else's client.
func TestFullAndIncremental(t *testing.T) {
	s := start(t)
	vm, _ := s.vm()
	enableTracking(t, vm)

	first := snapshot(t, vm, "holdfast-1")
	firstID := changeID(t, vm, first)
	s.order(200, "/cbt/page?areas=1", nil)
	if got, pages := loop(t, vm, first, "*"); pages != 3 || !slices.Equal(got, []cbt.Area{
		{Offset: 0, Length: 1 << 20}, {Offset: 4 << 20, Length: 1 << 20}, {Offset: 8 << 20, Length: 1 << 20},
	}) {
		t.Fatalf("allocated in %d pages: %v", pages, got)
	}

	// While frozen: the truth changes, the base does not.
	frozen := s.guestWrites(100_000, 3000)
	if !bytes.Equal(s.bytesOf("truth.img", 100_000, 3000), frozen) {
		t.Fatal("the guest does not see its write")
	}
	if !bytes.Equal(s.bytesOf("web01-flat.vmdk", 100_000, 3000), make([]byte, 3000)) {
		t.Fatal("a write went to the frozen base")
	}
	if got, _ := loop(t, vm, first, firstID); len(got) != 0 {
		t.Fatalf("writes after the snapshot were reported for it: %v", got)
	}
	if parent := backing(t, vm).Parent; parent == nil || parent.FileName != "[san01] web01/web01.vmdk" {
		t.Fatalf("the running VM shows no delta above its base: %+v", backing(t, vm))
	}
	remove(t, vm, first)
	if !bytes.Equal(s.bytesOf("web01-flat.vmdk", 100_000, 3000), frozen) {
		t.Fatal("the delta was not merged into the base")
	}
	if b := backing(t, vm); b.Parent != nil || b.FileName != "[san01] web01/web01.vmdk" {
		t.Fatalf("the running VM still shows a delta: %+v", b)
	}

	s.guestWrites(5<<20, 512)
	second := snapshot(t, vm, "holdfast-2")
	got, pages := loop(t, vm, second, firstID)
	want := []cbt.Area{{Offset: 99840, Length: 3584}, {Offset: 5 << 20, Length: 512}}
	if pages != 2 || !slices.Equal(got, want) {
		t.Fatalf("changed in %d pages: %v, want %v", pages, got, want)
	}
	remove(t, vm, second)
	state := s.state()
	if len(state.VMs[0].Snapshots) != 0 || state.VMs[0].Layers != 0 || state.Sessions != 1 {
		t.Fatalf("something is left: %+v", state)
	}
}

func TestQueryRefusals(t *testing.T) {
	s := start(t)
	vm, client := s.vm()
	off := snapshot(t, vm, "tracking off")
	if id := changeID(t, vm, off); id != "" {
		t.Fatalf("a change id without tracking: %q", id)
	}
	wantFault(t, query(vm, off, key, 0, "*"), &types.FileFault{})
	remove(t, vm, off)

	enableTracking(t, vm)
	snap := snapshot(t, vm, "s")
	id := changeID(t, vm, snap)
	wantFault(t, query(vm, snap, key, capacity, id), &types.InvalidArgument{})
	wantFault(t, query(vm, snap, key, -1, id), &types.InvalidArgument{})
	wantFault(t, query(vm, snap, 2999, 0, id), &types.InvalidArgument{})
	wantFault(t, query(vm, snap, key, 0, "nonsense"), &types.InvalidArgument{})
	wantFault(t, query(vm, snap, key, 0, "52 de/1"), &types.FileFault{})
	gone := types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: "snapshot-0"}
	wantFault(t, query(vm, gone, key, 0, id), &types.ManagedObjectNotFound{})
	_, err := methods.QueryChangedDiskAreas(soon(t), vm.Client(), &types.QueryChangedDiskAreas{
		This: vm.Reference(), DeviceKey: key, ChangeId: id,
	})
	wantFault(t, err, &types.InvalidArgument{}) // running, and no snapshot named

	s.order(200, "/cbt/reset?vm=web01&disk=2000", nil)
	wantFault(t, query(vm, snap, key, 0, id), &types.FileFault{})
	remove(t, vm, snap)
	next := snapshot(t, vm, "after the reset")
	if now := changeID(t, vm, next); now == id || now == "" {
		t.Fatalf("change id %q after the reset, %q before", now, id)
	}
	wantFault(t, query(vm, next, key, 0, id), &types.FileFault{})

	if err := client.Logout(soon(t)); err != nil {
		t.Fatal(err)
	}
	wantFault(t, query(vm, next, key, 0, "*"), &types.NotAuthenticated{})
}

func TestScriptedAnswers(t *testing.T) {
	s := start(t)
	vm, _ := s.vm()
	enableTracking(t, vm)
	snap := snapshot(t, vm, "s")
	s.order(200, "/cbt/script?vm=web01&disk=2000",
		[]byte(`[{"start_offset":7,"length":-1,"areas":[{"offset":9,"length":5},{"offset":2,"length":5}]}]`))
	answer, err := methods.QueryChangedDiskAreas(soon(t), vm.Client(), question(vm, snap, key, 0, "*"))
	if err != nil {
		t.Fatal(err)
	}
	got := answer.Returnval
	if got.StartOffset != 7 || got.Length != -1 || len(got.ChangedArea) != 2 || got.ChangedArea[0].Start != 9 {
		t.Fatalf("the scripted answer came as %+v", got)
	}
	if areas, _ := loop(t, vm, snap, "*"); len(areas) != 3 {
		t.Fatalf("after the script: %v", areas)
	}
}

// Three snapshots, removed from the middle, then all: the base ends as the truth.
func TestLayersEndAsTheTruth(t *testing.T) {
	s := start(t)
	vm, _ := s.vm()
	enableTracking(t, vm)
	one := snapshot(t, vm, "one")
	s.guestWrites(0, 4096)
	two := snapshot(t, vm, "two")
	inTwo := s.guestWrites(2048, 4096)
	three := snapshot(t, vm, "three")
	s.guestWrites(3000, 100)
	if b := snapshotBacking(t, vm, three); b.FileName != "[san01] web01/web01-000002.vmdk" ||
		b.Parent.FileName != "[san01] web01/web01-000001.vmdk" || b.Parent.Parent.Parent != nil {
		t.Fatalf("chain of the third snapshot: %+v", b)
	}
	remove(t, vm, two)
	if b := snapshotBacking(t, vm, three); b.FileName != "[san01] web01/web01-000001.vmdk" || b.ChangeId == "" {
		t.Fatalf("chain of the third snapshot after the second went: %+v", b)
	}
	if got, _ := loop(t, vm, three, changeID(t, vm, one)); !slices.Equal(got, []cbt.Area{{Offset: 0, Length: 6144}}) {
		t.Fatalf("changed between one and three: %v", got)
	}
	remove(t, vm, one)
	if !bytes.Equal(s.bytesOf("web01-flat.vmdk", 2048, 4096), inTwo) {
		t.Fatal("the base is not what the third snapshot froze")
	}
	remove(t, vm, three)
	if !bytes.Equal(s.bytesOf("web01-flat.vmdk", 0, 8192), s.bytesOf("truth.img", 0, 8192)) {
		t.Fatal("base and truth differ after the last removal")
	}
}

func TestConsolidationNeeded(t *testing.T) {
	s := start(t)
	vm, _ := s.vm()
	snap := snapshot(t, vm, "s")
	written := s.guestWrites(512, 512)
	s.order(200, "/consolidation?vm=web01&locked=2", nil)
	remove(t, vm, snap)
	state := s.state().VMs[0]
	if !state.ConsolidationNeeded || len(state.Snapshots) != 0 || state.Layers != 1 {
		t.Fatalf("after a removal that could not merge: %+v", state)
	}
	wantFault(t, consolidate(t, vm), &types.FileLocked{})
	if err := consolidate(t, vm); err != nil {
		t.Fatal(err)
	}
	if state := s.state().VMs[0]; state.ConsolidationNeeded || state.Layers != 0 {
		t.Fatalf("after the consolidation: %+v", state)
	}
	if !bytes.Equal(s.bytesOf("web01-flat.vmdk", 512, 512), written) {
		t.Fatal("the delta did not reach the base")
	}
}

// What lies beside the main path: the other ways to make and remove snapshots.
func TestOtherSnapshotCalls(t *testing.T) {
	s := start(t)
	vm, _ := s.vm()
	enableTracking(t, vm)
	made, err := methods.CreateSnapshotEx_Task(soon(t), vm.Client(), &types.CreateSnapshotEx_Task{
		This: vm.Reference(), Name: "ex", Description: "run 7",
		QuiesceSpec: &types.VirtualMachineGuestQuiesceSpec{Timeout: 5},
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := object.NewTask(vm.Client(), made.Returnval).WaitForResult(soon(t))
	if err != nil || info.Name != "CreateSnapshotEx_Task" {
		t.Fatalf("task %+v: %v", info, err)
	}
	ex := info.Result.(types.ManagedObjectReference)
	if got := s.state().VMs[0].Snapshots; len(got) != 1 || got[0].Description != "run 7" || !got[0].Quiesced {
		t.Fatalf("snapshots: %+v", got)
	}
	if changeID(t, vm, ex) == "" {
		t.Fatal("no change id")
	}
	_, err = methods.RevertToSnapshot_Task(soon(t), vm.Client(), &types.RevertToSnapshot_Task{This: ex})
	wantFault(t, err, &types.NotSupported{})

	written := s.guestWrites(4096, 4096)
	response, err := methods.RemoveSnapshot_Task(soon(t), vm.Client(), &types.RemoveSnapshot_Task{
		This: ex, Consolidate: types.NewBool(false),
	})
	if err == nil {
		err = object.NewTask(vm.Client(), response.Returnval).Wait(soon(t))
	}
	if got := s.state().VMs[0]; err != nil || !got.ConsolidationNeeded || got.Layers != 1 {
		t.Fatalf("removed without consolidation: %+v, %v", got, err)
	}

	snapshot(t, vm, "a")
	snapshot(t, vm, "b")
	task, err := vm.RemoveAllSnapshot(soon(t), types.NewBool(true))
	if err == nil {
		err = task.Wait(soon(t))
	}
	if got := s.state().VMs[0]; err != nil || got.ConsolidationNeeded || got.Layers != 0 || len(got.Snapshots) != 0 {
		t.Fatalf("after removing all: %+v, %v", got, err)
	}
	if !bytes.Equal(s.bytesOf("web01-flat.vmdk", 4096, 4096), written) {
		t.Fatal("the delta did not reach the base")
	}
}

func enableTracking(t *testing.T, vm *object.VirtualMachine) {
	t.Helper()
	task, err := vm.Reconfigure(soon(t), types.VirtualMachineConfigSpec{
		ChangeTrackingEnabled: types.NewBool(true),
	})
	if err == nil {
		err = task.Wait(soon(t))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func snapshot(t *testing.T, vm *object.VirtualMachine, name string) types.ManagedObjectReference {
	t.Helper()
	task, err := vm.CreateSnapshot(soon(t), name, "by the lab", false, true)
	if err != nil {
		t.Fatal(err)
	}
	info, err := task.WaitForResult(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	return info.Result.(types.ManagedObjectReference)
}

func remove(t *testing.T, vm *object.VirtualMachine, snap types.ManagedObjectReference) {
	t.Helper()
	response, err := methods.RemoveSnapshot_Task(soon(t), vm.Client(), &types.RemoveSnapshot_Task{
		This: snap, Consolidate: types.NewBool(true),
	})
	if err == nil {
		err = object.NewTask(vm.Client(), response.Returnval).Wait(soon(t))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func consolidate(t *testing.T, vm *object.VirtualMachine) error {
	t.Helper()
	response, err := methods.ConsolidateVMDisks_Task(soon(t), vm.Client(),
		&types.ConsolidateVMDisks_Task{This: vm.Reference()})
	if err != nil {
		t.Fatal(err)
	}
	return object.NewTask(vm.Client(), response.Returnval).Wait(soon(t))
}

func question(
	vm *object.VirtualMachine, snap types.ManagedObjectReference, key int32, start int64, id string,
) *types.QueryChangedDiskAreas {
	return &types.QueryChangedDiskAreas{
		This: vm.Reference(), Snapshot: &snap, DeviceKey: key, StartOffset: start, ChangeId: id,
	}
}

func query(
	vm *object.VirtualMachine, snap types.ManagedObjectReference, key int32, start int64, id string,
) error {
	_, err := methods.QueryChangedDiskAreas(
		context.Background(), vm.Client(), question(vm, snap, key, start, id))
	return err
}

// loop asks until the whole disk is answered for.
func loop(
	t *testing.T, vm *object.VirtualMachine, snap types.ManagedObjectReference, id string,
) (areas []cbt.Area, pages int) {
	t.Helper()
	for start := int64(0); start < capacity; pages++ {
		response, err := methods.QueryChangedDiskAreas(
			soon(t), vm.Client(), question(vm, snap, key, start, id))
		if err != nil {
			t.Fatal(err)
		}
		answer := response.Returnval
		for _, a := range answer.ChangedArea {
			areas = append(areas, cbt.Area{Offset: a.Start, Length: a.Length})
		}
		start = answer.StartOffset + answer.Length
	}
	return areas, pages
}

func backing(t *testing.T, vm *object.VirtualMachine) *types.VirtualDiskFlatVer2BackingInfo {
	t.Helper()
	var got mo.VirtualMachine
	if err := vm.Properties(soon(t), vm.Reference(), []string{"config.hardware.device"}, &got); err != nil {
		t.Fatal(err)
	}
	return diskBacking(t, got.Config.Hardware.Device)
}

func snapshotBacking(
	t *testing.T, vm *object.VirtualMachine, snap types.ManagedObjectReference,
) *types.VirtualDiskFlatVer2BackingInfo {
	t.Helper()
	var got mo.VirtualMachineSnapshot
	if err := vm.Properties(soon(t), snap, []string{"config"}, &got); err != nil {
		t.Fatal(err)
	}
	return diskBacking(t, got.Config.Hardware.Device)
}

func changeID(t *testing.T, vm *object.VirtualMachine, snap types.ManagedObjectReference) string {
	t.Helper()
	return snapshotBacking(t, vm, snap).ChangeId
}

func diskBacking(t *testing.T, devices []types.BaseVirtualDevice) *types.VirtualDiskFlatVer2BackingInfo {
	t.Helper()
	disks := object.VirtualDeviceList(devices).SelectByType((*types.VirtualDisk)(nil))
	if len(disks) != 1 {
		t.Fatalf("%d disks", len(disks))
	}
	return disks[0].GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo)
}

// wantFault wants an error that carries the same type of fault, from a call or from a task.
func wantFault(t *testing.T, err error, want types.BaseMethodFault) {
	t.Helper()
	got := faultOf(err)
	if got == nil || typeOf(got) != typeOf(want) {
		t.Fatalf("got %v (%T), want %T", err, got, want)
	}
}

func faultOf(err error) any {
	if err == nil {
		return nil
	}
	if soap.IsSoapFault(err) {
		return soap.ToSoapFault(err).VimFault()
	}
	if carrier, ok := err.(types.HasFault); ok {
		return carrier.Fault()
	}
	return nil
}
