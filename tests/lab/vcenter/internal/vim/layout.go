package vim

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// firstDiskFile is the first key of the disks' files in layoutEx; the simulator counts its own
// from 0 and looks some of them up again.
const firstDiskFile = 10000

// ShowLayout brings a machine's layoutEx up to date: the base of its disks, and each delta with the
// bytes that it holds now. A host does that now and then; the lab after each write.
func (s *Site) ShowLayout(guest *Guest) {
	ctx := s.fresh()
	vm := ctx.Map.Get(guest.ref).(*simulator.VirtualMachine)
	ctx.WithLock(vm, func() {
		if vm.LayoutEx == nil {
			return
		}
		layout := *vm.LayoutEx
		layout.File = nil
		for _, file := range vm.LayoutEx.File {
			if file.Key < firstDiskFile {
				layout.File = append(layout.File, file)
			}
		}
		sizes := guest.Machine.DeltaSizes()
		layout.File = append(layout.File, s.diskFile(0, guest.Config.Disks[0].Capacity))
		for number, size := range sizes {
			layout.File = append(layout.File, s.diskFile(number, size))
		}
		now, _ := guest.Machine.Chain("")
		layout.Disk = diskLayout(guest, now)
		layout.Snapshot = nil
		for _, snapshot := range vm.LayoutEx.Snapshot {
			if chain, ok := guest.Machine.Chain(snapshot.Key.Value); ok {
				snapshot.Disk = diskLayout(guest, chain)
			}
			layout.Snapshot = append(layout.Snapshot, snapshot)
		}
		ctx.Update(vm, []types.PropertyChange{{Name: "layoutEx", Val: &layout}})
	})
}

// diskFile is the file of all the VM's disks with this number, 0 for the bases.
func (s *Site) diskFile(number int, size int64) types.VirtualMachineFileLayoutExFileInfo {
	return types.VirtualMachineFileLayoutExFileInfo{
		Key: firstDiskFile + int32(number), Size: size,
		Type: string(types.VirtualMachineFileLayoutExFileTypeDiskExtent),
	}
}

func diskLayout(guest *Guest, chain []int) []types.VirtualMachineFileLayoutExDiskLayout {
	disk := types.VirtualMachineFileLayoutExDiskLayout{Key: guest.Config.Disks[0].Key}
	for _, number := range append([]int{0}, chain...) {
		disk.Chain = append(disk.Chain, types.VirtualMachineFileLayoutExDiskUnit{
			FileKey: []int32{firstDiskFile + int32(number)},
		})
	}
	return []types.VirtualMachineFileLayoutExDiskLayout{disk}
}
