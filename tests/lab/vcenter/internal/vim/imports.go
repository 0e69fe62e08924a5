package vim

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// ImportOrder says what goes wrong with the next import. Zero: nothing.
type ImportOrder struct {
	LeaseError bool  `json:"lease_error"` // the lease goes into its error state
	CutAfter   int64 `json:"cut_after"`   // the connection breaks after so many bytes of an upload
	FullAfter  int64 `json:"full_after"`  // the datastore is full after so many bytes of an upload
	Flip       int64 `json:"flip"`        // this byte (from 1) of the next disk is stored wrong
}

// imports is what the lab adds to ImportVApp: the simulator discards the bytes.
type imports struct {
	sync.Mutex
	order ImportOrder
}

// OrderImport replaces the standing order.
func (s *Site) OrderImport(order ImportOrder) {
	s.imports.Lock()
	defer s.imports.Unlock()
	s.imports.order = order
}

// takeImport gives the order and leaves what the caller does not use up.
func (s *Site) takeImport(use func(*ImportOrder)) ImportOrder {
	s.imports.Lock()
	defer s.imports.Unlock()
	now := s.imports.order
	use(&s.imports.order)
	return now
}

// spoilImport makes the simulator refuse the VM after it has given out the lease.
func (s *Site) spoilImport(request *types.ImportVApp) {
	order := s.takeImport(func(o *ImportOrder) { o.LeaseError = false })
	if spec, ok := request.Spec.(*types.VirtualMachineImportSpec); ok && order.LeaseError {
		spec.ConfigSpec.Version = "vmx-unknown"
	}
}

// NFC keeps the disks that are uploaded through a lease: as raw files, made by qemu-img, where the
// simulator's datastore has the empty ones.
func (s *Site) NFC(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut && r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		if err := s.keepUpload(next, w, r); err != nil {
			log.Printf("vcenter: upload to %s: %v", r.URL.Path, err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

func (s *Site) keepUpload(next http.Handler, w http.ResponseWriter, r *http.Request) error {
	order := s.takeImport(func(o *ImportOrder) { o.CutAfter, o.FullAfter, o.Flip = 0, 0, 0 })
	file, err := os.CreateTemp(s.directory, "upload-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if limit := max(order.CutAfter, order.FullAfter); limit > 0 {
		_, _ = io.CopyN(file, r.Body, limit) // a shorter upload is cut as well
		if order.CutAfter > 0 {
			panic(http.ErrAbortHandler)
		}
		http.Error(w, "There is not enough space on the disk.", http.StatusInsufficientStorage)
		return nil
	}
	r.Body = io.NopCloser(io.TeeReader(r.Body, file))
	said := httptest.NewRecorder()
	next.ServeHTTP(said, r) // the simulator counts and sums the bytes
	if said.Code != http.StatusOK {
		w.WriteHeader(said.Code)
		return nil
	}
	if err := s.store(path.Base(r.URL.Path), file.Name(), order.Flip); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// store turns a streamOptimized upload into the flat file of the disk of this name.
func (s *Site) store(name, upload string, flip int64) error {
	found := s.madeDisks(name)
	if len(found) != 1 {
		return fmt.Errorf("%d disks are called %s", len(found), name)
	}
	disk := found[0]
	out, err := exec.Command(
		"qemu-img", "convert", "-f", "vmdk", "-O", "raw", upload, disk.Flat).CombinedOutput()
	if err != nil {
		return fmt.Errorf("qemu-img: %w: %s", err, out)
	}
	stat, err := os.Stat(disk.Flat)
	if err != nil {
		return err
	}
	if stat.Size() != disk.Capacity {
		return fmt.Errorf("%s has %d bytes, its disk %d", name, stat.Size(), disk.Capacity)
	}
	if err := os.WriteFile(s.local(disk.File), descriptor(disk), 0o600); err != nil {
		return err
	}
	if flip > 0 {
		return spoil(disk.Flat, flip-1)
	}
	return nil
}

// descriptor is what stands in the .vmdk file, as hosts write it; the simulator's own names a
// parent disk.
func descriptor(disk MadeDisk) []byte {
	return fmt.Appendf(nil, "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\n"+
		"parentCID=ffffffff\ncreateType=\"vmfs\"\n\n# Extent description\n"+
		"RW %d VMFS \"%s\"\n\n# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\n",
		disk.Capacity/512, path.Base(disk.Flat))
}

func spoil(name string, offset int64) error {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var b [1]byte
	_, err = file.ReadAt(b[:], offset)
	if err == nil {
		b[0] ^= 1
		_, err = file.WriteAt(b[:], offset)
	}
	return errors.Join(err, file.Close())
}

// MadeDisk is a disk that lies as a file beside the LUN.
type MadeDisk struct {
	File     string `json:"file"` // as vSphere names it
	Flat     string `json:"flat"` // its bytes, a file of this machine
	Capacity int64  `json:"capacity"`
}

// MadeVM is a virtual machine as vCenter shows it, whoever made it.
type MadeVM struct {
	Name         string            `json:"name"`
	Ref          string            `json:"ref"`
	UUID         string            `json:"uuid"`
	InstanceUUID string            `json:"instance_uuid"`
	PoweredOn    bool              `json:"powered_on"`
	MACs         []string          `json:"macs"`
	Connected    bool              `json:"connected"` // some card at power-on
	Attributes   map[string]string `json:"attributes"`
	NVRAM        string            `json:"nvram"` // a file of this machine, if it is there
	Disks        []MadeDisk        `json:"disks"`
}

// Made lists all VMs, the configured ones included; the files of those are not there.
func (s *Site) Made() []MadeVM {
	made := []MadeVM{}
	ctx := s.fresh()
	for _, entity := range ctx.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		ctx.WithLock(vm, func() { made = append(made, s.made(vm)) })
	}
	return made
}

func (s *Site) made(vm *simulator.VirtualMachine) MadeVM {
	shown := MadeVM{
		Name: vm.Name, Ref: vm.Self.Value, UUID: vm.Config.Uuid,
		InstanceUUID: vm.Config.InstanceUuid, MACs: []string{}, Disks: []MadeDisk{},
		PoweredOn:  vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn,
		Attributes: map[string]string{},
	}
	for _, value := range vm.CustomValue {
		if v, ok := value.(*types.CustomFieldStringValue); ok {
			for _, field := range vm.AvailableField {
				if field.Key == v.Key {
					shown.Attributes[field.Name] = v.Value
				}
			}
		}
	}
	vmx := strings.TrimSuffix(s.local(vm.Config.Files.VmPathName), ".vmx") + ".nvram"
	if _, err := os.Stat(vmx); err == nil {
		shown.NVRAM = vmx
	}
	for _, device := range vm.Config.Hardware.Device {
		switch d := device.(type) {
		case types.BaseVirtualEthernetCard:
			card := d.GetVirtualEthernetCard()
			shown.MACs = append(shown.MACs, card.MacAddress)
			shown.Connected = shown.Connected ||
				card.Connectable != nil && card.Connectable.StartConnected
		case *types.VirtualDisk:
			backing, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo)
			if ok {
				file := backing.GetVirtualDeviceFileBackingInfo().FileName
				flat := strings.TrimSuffix(s.local(file), ".vmdk") + "-flat.vmdk"
				shown.Disks = append(shown.Disks,
					MadeDisk{File: file, Flat: flat, Capacity: d.CapacityInBytes})
			}
		}
	}
	return shown
}

// local is where the simulator keeps a file of the datastore.
func (s *Site) local(file string) string {
	var at object.DatastorePath
	at.FromString(file)
	return filepath.Join(s.directory, filepath.FromSlash(at.Path))
}

func (s *Site) madeDisks(name string) []MadeDisk {
	var found []MadeDisk
	for _, vm := range s.Made() {
		for _, disk := range vm.Disks {
			if path.Base(disk.Flat) == strings.TrimSuffix(name, ".vmdk")+"-flat.vmdk" {
				if _, err := os.Stat(disk.Flat); err == nil {
					found = append(found, disk)
				}
			}
		}
	}
	return found
}

// Power switches a configured VM, as its guest or somebody at a console does.
func (s *Site) Power(guest *Guest, on bool) {
	state := types.VirtualMachinePowerStatePoweredOff
	if on {
		state = types.VirtualMachinePowerStatePoweredOn
	}
	ctx := s.fresh()
	if vm, ok := ctx.Map.Get(guest.ref).(*simulator.VirtualMachine); ok {
		ctx.WithLock(vm, func() {
			ctx.Update(vm, []types.PropertyChange{
				{Name: "runtime.powerState", Val: state},
				{Name: "summary.runtime.powerState", Val: state},
			})
		})
	}
}
