package vim

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"

	"holdfast/tests/lab/vcenter/internal/config"
)

// AddVM registers one more machine, without disks: the inventory changes, nothing else.
func (s *Site) AddVM(ctx context.Context, name, instanceUUID string) error {
	client, err := vim25.NewClient(ctx, s.model.Service)
	if err != nil {
		return err
	}
	folder, err := s.folder(ctx, client, "")
	if err != nil {
		return err
	}
	vm := config.VM{Name: name, Folder: name, UUID: instanceUUID, InstanceUUID: instanceUUID}
	task, err := folder.CreateVM(ctx, s.spec(vm), object.NewResourcePool(client, s.rootPool()), nil)
	if err != nil {
		return err
	}
	return task.Wait(ctx)
}

// RemoveVM deletes a machine.
func (s *Site) RemoveVM(ctx context.Context, name string) error {
	vm, err := s.named(ctx, name)
	if err != nil {
		return err
	}
	if task, err := vm.PowerOff(ctx); err == nil {
		_ = task.Wait(ctx) // it was off already
	}
	task, err := vm.Destroy(ctx)
	if err != nil {
		return err
	}
	return task.Wait(ctx)
}

// RenameVM gives a machine another name.
func (s *Site) RenameVM(ctx context.Context, name, to string) error {
	vm, err := s.named(ctx, name)
	if err != nil {
		return err
	}
	task, err := vm.Rename(ctx, to)
	if err != nil {
		return err
	}
	return task.Wait(ctx)
}

func (s *Site) named(ctx context.Context, name string) (*object.VirtualMachine, error) {
	client, err := vim25.NewClient(ctx, s.model.Service)
	if err != nil {
		return nil, err
	}
	for _, entity := range s.model.Map().All("VirtualMachine") {
		if vm, ok := entity.(*simulator.VirtualMachine); ok && vm.Name == name {
			return object.NewVirtualMachine(client, vm.Self), nil
		}
	}
	return nil, fmt.Errorf("no machine %q", name)
}
