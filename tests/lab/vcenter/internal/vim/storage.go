package vim

import (
	"context"
	"os"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	"holdfast/tests/lab/vcenter/internal/config"
)

// Identity is what vSphere says of the LUN and the volume on it. A test makes it lie to see that
// the appliance refuses to read a LUN that is not proven to be the right one.
type Identity struct {
	NAA        string `json:"naa"`        // of the LUN, on every host
	ExtentNAA  string `json:"extent_naa"` // named by the volume's extent; default: naa
	VMFSUUID   string `json:"vmfs_uuid"`
	Partition  int32  `json:"partition"`
	LUNSectors int64  `json:"lun_sectors"` // of 512 bytes
}

type identity struct {
	sync.Mutex
	now Identity
}

func trueIdentity(d config.Datastore) Identity {
	return Identity{
		NAA: d.NAA, ExtentNAA: d.NAA, VMFSUUID: d.VMFSUUID,
		Partition: d.Partition, LUNSectors: d.LUNSectors,
	}
}

// SetIdentity changes the inventory at once. Fields left out say the truth again.
func (s *Site) SetIdentity(lie Identity) Identity {
	s.identity.Lock()
	defer s.identity.Unlock()
	now := trueIdentity(s.config.Datastore)
	if lie.NAA != "" {
		now.NAA, now.ExtentNAA = lie.NAA, lie.NAA
	}
	if lie.ExtentNAA != "" {
		now.ExtentNAA = lie.ExtentNAA
	}
	if lie.VMFSUUID != "" {
		now.VMFSUUID = lie.VMFSUUID
	}
	if lie.Partition != 0 {
		now.Partition = lie.Partition
	}
	if lie.LUNSectors != 0 {
		now.LUNSectors = lie.LUNSectors
	}
	s.identity.now = now
	s.showStorage()
	return now
}

// createDatastore makes the simulator's datastore on a temporary directory: there the simulator
// keeps the files that it makes itself (.vmx, .nvram, .vmsn). The disks' bytes are never there.
func (s *Site) createDatastore() error {
	directory, err := os.MkdirTemp("", "vcenter-datastore-")
	if err != nil {
		return err
	}
	s.directory = directory
	client, err := vim25.NewClient(context.Background(), s.model.Service)
	if err != nil {
		return err
	}
	for _, host := range s.hosts() {
		system := object.NewHostDatastoreSystem(client, *host.ConfigManager.DatastoreSystem)
		_, err := system.CreateLocalDatastore(context.Background(), s.config.Datastore.Name, directory)
		if err != nil {
			return err
		}
	}
	// Only here, before anybody is connected: the simulator reads the summary without its lock.
	summary := &s.datastore().Summary
	summary.Type = string(types.HostFileSystemVolumeFileSystemTypeVMFS)
	summary.Capacity, summary.FreeSpace = s.config.Datastore.Capacity, s.config.Datastore.Capacity/2
	return nil
}

func (s *Site) hosts() []*simulator.HostSystem {
	var hosts []*simulator.HostSystem
	for _, entity := range s.model.Map().All("HostSystem") {
		hosts = append(hosts, entity.(*simulator.HostSystem))
	}
	return hosts
}

func (s *Site) datastore() *simulator.Datastore {
	return s.model.Map().Any("Datastore").(*simulator.Datastore) // there is exactly one
}

// showStorage writes the present identity into the inventory, live.
func (s *Site) showStorage() {
	ctx := s.fresh()
	for _, host := range s.hosts() {
		device := s.storageDevice(host)
		ctx.Map.AtomicUpdate(ctx, host, []types.PropertyChange{
			{Name: "config.storageDevice", Val: device},
			{Name: "config.fileSystemVolume", Val: s.mountedVolumes()},
		})
		system := ctx.Map.Get(*host.ConfigManager.StorageSystem).(*simulator.HostStorageSystem)
		ctx.Map.AtomicUpdate(ctx, system, []types.PropertyChange{
			{Name: "storageDeviceInfo", Val: device},
		})
	}
	ds := s.datastore()
	ctx.Map.AtomicUpdate(ctx, ds, []types.PropertyChange{{Name: "info", Val: s.datastoreInfo(ds)}})
}

// storageDevice is the host's list of LUNs: what the simulator had, and ours.
func (s *Site) storageDevice(host *simulator.HostSystem) *types.HostStorageDeviceInfo {
	device := *host.Config.StorageDevice
	device.ScsiLun = nil
	for _, lun := range host.Config.StorageDevice.ScsiLun {
		if lun.GetScsiLun().Key != lunKey {
			device.ScsiLun = append(device.ScsiLun, lun)
		}
	}
	device.ScsiLun = append(device.ScsiLun, s.lun())
	return &device
}

const lunKey = "key-vim.host.ScsiDisk-holdfast-san0"

func (s *Site) lun() *types.HostScsiDisk {
	now := s.identity.now
	path := "/vmfs/devices/disks/" + now.NAA
	return &types.HostScsiDisk{
		ScsiLun: types.ScsiLun{
			HostDevice:       types.HostDevice{DeviceName: path, DeviceType: "disk"},
			Key:              lunKey,
			Uuid:             "0200000000" + now.NAA,
			Descriptor:       []types.ScsiLunDescriptor{{Quality: "highQuality", Id: now.NAA}},
			CanonicalName:    now.NAA,
			DisplayName:      "Lab iSCSI Disk (" + now.NAA + ")",
			LunType:          "disk",
			Vendor:           "HOLDFAST",
			Model:            "LAB",
			ScsiLevel:        6,
			OperationalState: []string{"ok"},
		},
		Capacity:   types.HostDiskDimensionsLba{BlockSize: 512, Block: now.LUNSectors},
		DevicePath: path,
		LocalDisk:  types.NewBool(false),
		Ssd:        types.NewBool(false),
	}
}

func (s *Site) vmfs() *types.HostVmfsVolume {
	now := s.identity.now
	return &types.HostVmfsVolume{
		HostFileSystemVolume: types.HostFileSystemVolume{
			Type: "VMFS", Name: s.config.Datastore.Name, Capacity: s.config.Datastore.Capacity,
		},
		BlockSizeMb: 1, BlockSize: 1024, MaxBlocks: 63963136, MajorVersion: 6, Version: "6.82",
		Uuid:           now.VMFSUUID,
		Extent:         []types.HostScsiDiskPartition{{DiskName: now.ExtentNAA, Partition: now.Partition}},
		VmfsUpgradable: false,
		Ssd:            types.NewBool(false),
		Local:          types.NewBool(false),
	}
}

func (s *Site) mountedVolumes() *types.HostFileSystemVolumeInfo {
	return &types.HostFileSystemVolumeInfo{
		VolumeTypeList: []string{"VMFS"},
		MountInfo: []types.HostFileSystemMountInfo{{
			MountInfo: types.HostMountInfo{
				Path:       "/vmfs/volumes/" + s.identity.now.VMFSUUID,
				AccessMode: string(types.HostMountModeReadWrite),
				Mounted:    types.NewBool(true), Accessible: types.NewBool(true),
			},
			Volume: s.vmfs(),
		}},
	}
}

func (s *Site) datastoreInfo(ds *simulator.Datastore) *types.VmfsDatastoreInfo {
	info := *ds.Info.GetDatastoreInfo() // keeps the directory that the simulator resolves paths with
	info.FreeSpace = s.config.Datastore.Capacity / 2
	info.MaxFileSize, info.MaxMemoryFileSize = 64<<40, 64<<40
	return &types.VmfsDatastoreInfo{
		DatastoreInfo: info, MaxPhysicalRDMFileSize: 64 << 40, MaxVirtualRDMFileSize: 64 << 40,
		Vmfs: s.vmfs(),
	}
}
