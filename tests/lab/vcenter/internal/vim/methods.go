package vim

import (
	"errors"
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"holdfast/tests/lab/vcenter/internal/cbt"
	"holdfast/tests/lab/vcenter/internal/lab"
)

// vmMethods answers for a VM what the simulator's own VM cannot. It is registered beside the VM
// under a reference of its own and calls are sent to it by route: the simulator casts VMs to its own
// type, so the VM itself must not be replaced.
type vmMethods struct {
	Self  types.ManagedObjectReference
	site  *Site
	guest *Guest
}

// Reference is the shadow's own.
func (v *vmMethods) Reference() types.ManagedObjectReference { return v.Self }

func shadowOf(vm types.ManagedObjectReference) types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "LabVirtualMachine", Value: vm.Value}
}

// route is asked by the simulator before each dispatch. Calls without a session go on as they
// are, to be refused.
func (s *Site) route(
	ctx *simulator.Context, method *simulator.Method,
) (mo.Reference, types.BaseMethodFault) {
	if ctx.Session == nil {
		return nil, nil
	}
	switch request := method.Body.(type) {
	case *types.QueryChangedDiskAreas, *types.ConsolidateVMDisks_Task:
		if s.byRef[method.This] != nil {
			method.This = shadowOf(method.This)
		}
	case *types.ImportVApp:
		s.spoilImport(request)
	case *types.ExportSnapshot, *types.ExportVm:
		method.This = exportShadow
	case *types.RemoveSnapshot_Task:
		if request.Consolidate != nil && !*request.Consolidate {
			s.unmerged.add(request.This)
		}
	case *types.RevertToSnapshot_Task, *types.RevertToCurrentSnapshot_Task:
		// A revert would have to undo writes in the truth image as well.
		return nil, &types.NotSupported{}
	}
	return nil, nil
}

// QueryChangedDiskAreas answers one page.
func (v *vmMethods) QueryChangedDiskAreas(
	ctx *simulator.Context, request *types.QueryChangedDiskAreas,
) soap.HasFault {
	body := new(methods.QueryChangedDiskAreasBody)
	snapshot := ""
	if request.Snapshot != nil {
		snapshot = request.Snapshot.Value
	} else if v.poweredOn(ctx) {
		body.Fault_ = invalid("snapshot", errors.New("a running VM's disks need a snapshot"))
		return body
	}
	page, err := v.guest.Machine.Query(
		request.DeviceKey, snapshot, request.ChangeId, request.StartOffset)
	if err != nil {
		body.Fault_ = v.queryFault(request, err)
		return body
	}
	info := types.DiskChangeInfo{StartOffset: page.Start, Length: page.Length}
	for _, a := range page.Areas {
		info.ChangedArea = append(info.ChangedArea,
			types.DiskChangeExtent{Start: a.Offset, Length: a.Length})
	}
	body.Res = &types.QueryChangedDiskAreasResponse{Returnval: info}
	return body
}

func (v *vmMethods) poweredOn(ctx *simulator.Context) bool {
	vm := ctx.Map.Get(v.guest.ref).(*simulator.VirtualMachine)
	on := false
	ctx.WithLock(vm, func() {
		on = vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	})
	return on
}

func (v *vmMethods) queryFault(request *types.QueryChangedDiskAreas, err error) *soap.Fault {
	switch {
	case errors.Is(err, lab.ErrNoSnapshot):
		return simulator.Fault(err.Error(), &types.ManagedObjectNotFound{Obj: *request.Snapshot})
	case errors.Is(err, lab.ErrNoDisk):
		return invalid("deviceKey", err)
	case errors.Is(err, lab.ErrRange):
		return invalid("startOffset", err)
	case errors.Is(err, cbt.ErrSyntax):
		return invalid("changeId", err)
	case errors.Is(err, cbt.ErrUnusable):
		file := v.fileOf(request.DeviceKey)
		return simulator.Fault("Error caused by file "+file, &types.FileFault{File: file})
	}
	return simulator.Fault(err.Error(), &types.SystemErrorFault{Reason: err.Error()})
}

func (v *vmMethods) fileOf(key int32) string {
	for _, d := range v.guest.Config.Disks {
		if d.Key == key {
			return v.site.path(d.File)
		}
	}
	return fmt.Sprintf("disk %d", key)
}

func invalid(property string, err error) *soap.Fault {
	message := "A specified parameter was not correct: " + property + " (" + err.Error() + ")"
	return simulator.Fault(message, &types.InvalidArgument{InvalidProperty: property})
}

// ConsolidateVMDisksTask merges the deltas that no snapshot needs.
func (v *vmMethods) ConsolidateVMDisksTask(
	ctx *simulator.Context, request *types.ConsolidateVMDisks_Task,
) soap.HasFault {
	vm := ctx.Map.Get(v.guest.ref).(*simulator.VirtualMachine)
	task := simulator.CreateTask(vm, "consolidateVMDisks",
		func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
			err := v.guest.Machine.Consolidate()
			v.site.showMerged(ctx, v.guest, vm, err != nil)
			if errors.Is(err, lab.ErrLocked) {
				return nil, &types.FileLocked{FileFault: types.FileFault{
					File: v.site.path(v.guest.Config.Folder),
				}}
			}
			if err != nil {
				return nil, &types.SystemErrorFault{Reason: err.Error()}
			}
			return nil, nil
		})
	return &methods.ConsolidateVMDisks_TaskBody{
		Res: &types.ConsolidateVMDisks_TaskResponse{Returnval: task.Run(ctx)},
	}
}
