package vim

import (
	"context"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	"holdfast/tests/lab/vcenter/internal/config"
)

const controllerKey = 1000 // the first SCSI controller, as vSphere numbers it

// createVM lets the simulator make a VM without disks, powers it on, and then gives it the
// configured disks: made here, they have exactly the configured keys and backings.
func (s *Site) createVM(guest *Guest) error {
	ctx := context.Background()
	client, err := vim25.NewClient(ctx, s.model.Service)
	if err != nil {
		return err
	}
	folder, err := s.folder(ctx, client, guest.Config.VMFolder)
	if err != nil {
		return err
	}
	pool := object.NewResourcePool(client, s.rootPool())
	task, err := folder.CreateVM(ctx, s.spec(guest.Config), pool, nil)
	if err != nil {
		return err
	}
	result, err := task.WaitForResult(ctx)
	if err != nil {
		return err
	}
	guest.ref = result.Result.(types.ManagedObjectReference)
	task, err = object.NewVirtualMachine(client, guest.ref).PowerOn(ctx)
	if err != nil {
		return err
	}
	if err := task.Wait(ctx); err != nil {
		return err
	}
	s.finishVM(guest)
	return s.describe(ctx, client, guest)
}

func (s *Site) spec(vm config.VM) types.VirtualMachineConfigSpec {
	controller := &types.ParaVirtualSCSIController{
		VirtualSCSIController: types.VirtualSCSIController{
			SharedBus:          types.VirtualSCSISharingNoSharing,
			ScsiCtlrUnitNumber: 7,
			VirtualController: types.VirtualController{
				VirtualDevice: types.VirtualDevice{Key: controllerKey},
			},
		},
	}
	return types.VirtualMachineConfigSpec{
		Name: vm.Name, GuestId: vm.GuestID, Uuid: vm.UUID, InstanceUuid: vm.InstanceUUID,
		Version: "vmx-19", NumCPUs: 2, MemoryMB: 2048,
		Files: &types.VirtualMachineFileInfo{
			VmPathName: s.path(vm.Folder + "/" + vm.Name + ".vmx"),
		},
		ChangeTrackingEnabled: types.NewBool(false),
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: controller,
			},
			&types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: networkCard(vm),
			},
		},
	}
}

// networkCard has an address of its own in every VM: the end of the VM's UUID.
func networkCard(vm config.VM) *types.VirtualVmxnet3 {
	end := strings.ToLower(vm.UUID[max(0, len(vm.UUID)-4):])
	card := &types.VirtualVmxnet3{}
	card.Key = -1
	card.Backing = &types.VirtualEthernetCardNetworkBackingInfo{
		VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "VM Network"},
	}
	card.AddressType = string(types.VirtualEthernetCardMacTypeManual)
	card.MacAddress = fmt.Sprintf("00:50:56:3f:%.2s:%s", end, end[min(2, len(end)):])
	return card
}

func (s *Site) path(relative string) string {
	path := object.DatastorePath{Datastore: s.config.Datastore.Name, Path: relative}
	return path.String()
}

// finishVM sets what the simulator leaves out or guesses. Nobody is connected yet, but the
// simulator's own watchers may look, so it goes through its locked update.
func (s *Site) finishVM(guest *Guest) {
	ctx := s.fresh()
	vm := ctx.Map.Get(guest.ref).(*simulator.VirtualMachine)
	ctx.AutoUpdate(vm, func() {
		vm.Capability.ChangeTrackingSupported = true
		vm.Capability.DiskOnlySnapshotOnSuspendedVMSupported = types.NewBool(true)
		vm.Runtime.FaultToleranceState = types.VirtualMachineFaultToleranceStateNotConfigured
		vm.Runtime.RecordReplayState = types.VirtualMachineRecordReplayStateInactive
		vm.Guest.ToolsStatus = types.VirtualMachineToolsStatusToolsOk
		vm.Guest.ToolsRunningStatus = string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
		vm.Guest.ToolsVersionStatus2 = string(types.VirtualMachineToolsVersionStatusGuestToolsCurrent)
		vm.Guest.GuestFamily = string(types.VirtualMachineGuestOsFamilyLinuxGuest)
		vm.Guest.GuestState = string(types.VirtualMachineGuestStateRunning)
		vm.Guest.GuestId = guest.Config.GuestID
		vm.Summary.Runtime = vm.Runtime
		vm.Summary.Config.NumVirtualDisks = int32(len(guest.Config.Disks))
		for i, d := range guest.Config.Disks {
			vm.Config.Hardware.Device = append(vm.Config.Hardware.Device, s.disk(d, i+1))
			s.attach(vm, d.Key)
		}
	})
	ctx.WithLock(vm, func() { vm.RefreshStorageInfo(ctx, nil) })
}

// attach lists the disk at its controller.
func (s *Site) attach(vm *simulator.VirtualMachine, key int32) {
	for _, device := range vm.Config.Hardware.Device {
		if c, ok := device.(*types.ParaVirtualSCSIController); ok {
			c.Device = append(c.Device, key)
		}
	}
}

// disk is the device of a VM's nth disk, n counted from 1, on its base.
func (s *Site) disk(d config.Disk, n int) *types.VirtualDisk {
	unit := d.Unit
	return &types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{
			Key: d.Key, ControllerKey: controllerKey, UnitNumber: &unit,
			DeviceInfo: &types.Description{
				Label:   fmt.Sprintf("Hard disk %d", n),
				Summary: fmt.Sprintf("%d KB", d.Capacity/1024),
			},
			Backing: s.backing(d, nil),
		},
		CapacityInKB: d.Capacity / 1024, CapacityInBytes: d.Capacity,
		StorageIOAllocation: &types.StorageIOAllocationInfo{Limit: types.NewInt64(-1)},
	}
}

// backing is the head of the chain: the base when there are no deltas, else the newest delta
// with the rest as its parents.
func (s *Site) backing(d config.Disk, deltas []int) *types.VirtualDiskFlatVer2BackingInfo {
	ds := s.datastore().Self
	head := &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{
			FileName: s.path(d.File), Datastore: &ds,
		},
		DiskMode: string(types.VirtualDiskModePersistent), Uuid: d.UUID, WriteThrough: types.NewBool(false),
		ThinProvisioned: types.NewBool(d.Thin), EagerlyScrub: types.NewBool(!d.Thin),
		Sharing: string(types.VirtualDiskSharingSharingNone),
	}
	if n := len(deltas); n > 0 {
		stem := strings.TrimSuffix(d.File, ".vmdk")
		head.FileName = s.path(fmt.Sprintf("%s-%06d.vmdk", stem, deltas[n-1]))
		head.DeltaDiskFormat = string(types.VirtualDiskDeltaDiskFormatSeSparseFormat)
		head.Parent = s.backing(d, deltas[:n-1])
	}
	return head
}

// withChain returns a copy of the devices in which the guest's disks consist of the given deltas
// above their bases, with these change ids by key. Devices already handed out stay untouched:
// somebody may be encoding them.
func (s *Site) withChain(
	guest *Guest, devices []types.BaseVirtualDevice, deltas []int, ids map[int32]string,
) []types.BaseVirtualDevice {
	changed := append([]types.BaseVirtualDevice{}, devices...)
	for _, d := range guest.Config.Disks {
		for i, device := range changed {
			if old, ok := device.(*types.VirtualDisk); ok && old.Key == d.Key {
				disk := *old
				backing := s.backing(d, deltas)
				backing.ChangeId = ids[d.Key]
				disk.Backing = backing
				changed[i] = &disk
			}
		}
	}
	return changed
}
