// Package config is the program's one input file: the site it plays.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Config is the whole file. Sizes are bytes unless the name says otherwise.
type Config struct {
	Listen     string    `json:"listen"`      // address of the SDK, port 0 = any
	Control    string    `json:"control"`     // address of the control port, port 0 = any
	User       string    `json:"user"`        // the only account
	Password   string    `json:"password"`    // its password
	APIVersion string    `json:"api_version"` // such as 8.0.2.0, the default
	Standalone bool      `json:"standalone"`  // a single ESXi host without a vCenter
	Datastore  Datastore `json:"datastore"`
	VMFSTool   []string  `json:"vmfs_tool"` // command that reads and writes files inside the volume
	VMs        []VM      `json:"vms"`

	PageAreas   int   `json:"page_areas"`      // areas per answer, default 2000
	Granularity int64 `json:"cbt_granularity"` // areas are rounded out to it, default 512
	DeltaLimit  int64 `json:"delta_limit"`     // bytes one VM may write while frozen, default 1 GiB
}

// Datastore is the one VMFS volume and the LUN under it.
type Datastore struct {
	Name       string `json:"name"`
	NAA        string `json:"naa"`       // canonical name of the LUN
	VMFSUUID   string `json:"vmfs_uuid"` // as the API spells it
	Capacity   int64  `json:"capacity"`
	Partition  int32  `json:"partition"`
	LUNSectors int64  `json:"lun_sectors"` // of 512 bytes
	Image      string `json:"image"`       // the LUN's bytes, a file
}

// VM is one virtual machine.
type VM struct {
	Name         string `json:"name"`
	Folder       string `json:"folder"` // its directory on the datastore
	GuestID      string `json:"guest_id"`
	UUID         string `json:"uuid"`
	InstanceUUID string `json:"instance_uuid"`
	Disks        []Disk `json:"disks"`

	VMFolder   string            `json:"vm_folder"`  // folder of the inventory, "" = the datacenter's own
	Tags       map[string]string `json:"tags"`       // category -> tag
	Attributes map[string]string `json:"attributes"` // custom attributes
}

// Disk is one virtual disk with a FlatVer2 backing.
type Disk struct {
	Key      int32  `json:"key"`
	Unit     int32  `json:"unit"`
	File     string `json:"file"` // descriptor, relative to the datastore
	Flat     string `json:"flat"` // extent, relative to the datastore
	Capacity int64  `json:"capacity"`
	Thin     bool   `json:"thin"`
	UUID     string `json:"uuid"`
	Truth    string `json:"truth"` // raw image of what the guest sees; "" = keep none
}

var (
	vmfsUUID   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	apiVersion = regexp.MustCompile(`^\d+(\.\d+){1,3}$`)
)

// Load reads and checks the file. Unknown keys are errors: a typing mistake in a test's
// configuration must not silently test something else.
func Load(path string) (*Config, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer file.Close()
	c := new(Config)
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(c); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	c.setDefaults()
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

func (c *Config) setDefaults() {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.Control == "" {
		c.Control = "127.0.0.1:0"
	}
	if c.APIVersion == "" {
		c.APIVersion = "8.0.2.0"
	}
	if c.PageAreas == 0 {
		c.PageAreas = 2000
	}
	if c.Granularity == 0 {
		c.Granularity = 512
	}
	if c.DeltaLimit == 0 {
		c.DeltaLimit = 1 << 30
	}
}

func (c *Config) check() error {
	d := c.Datastore
	problems := []error{
		require(c.User != "" && c.Password != "", "user and password must be set"),
		require(apiVersion.MatchString(c.APIVersion), "api_version must be numbers and dots"),
		require(d.Name != "", "datastore.name must be set"),
		require(d.NAA != "", "datastore.naa must be set"),
		require(vmfsUUID.MatchString(d.VMFSUUID), "datastore.vmfs_uuid must be 8-8-4-12 lower-case hex"),
		require(d.Capacity > 0, "datastore.capacity must be positive"),
		require(d.Partition > 0, "datastore.partition must be positive"),
		require(d.LUNSectors > 0, "datastore.lun_sectors must be positive"),
		require(len(c.VMFSTool) > 0, "vmfs_tool must name a command"),
		require(c.PageAreas > 0, "page_areas must be positive"),
		require(c.Granularity >= 512 && c.Granularity%512 == 0,
			"cbt_granularity must be a multiple of 512"),
		require(c.DeltaLimit > 0, "delta_limit must be positive"),
	}
	names := map[string]bool{}
	for _, vm := range c.VMs {
		problems = append(problems,
			require(vm.Name != "" && !names[vm.Name], "vm names must be set and unique: "+vm.Name))
		names[vm.Name] = true
		problems = append(problems, vm.check())
	}
	return errors.Join(problems...)
}

func (vm VM) check() error {
	at := "vm " + vm.Name + ": "
	problems := []error{
		require(vm.Folder != "" && !strings.Contains(vm.Folder, ".."), at+"folder must be set"),
		require(vm.UUID != "" && vm.InstanceUUID != "", at+"uuid and instance_uuid must be set"),
	}
	keys, units := map[int32]bool{}, map[int32]bool{}
	for _, d := range vm.Disks {
		at := fmt.Sprintf("%sdisk %d: ", at, d.Key)
		problems = append(problems,
			require(d.Key >= 2000 && !keys[d.Key], at+"key must be 2000 or more and unique"),
			require(d.Unit >= 0 && d.Unit <= 15 && d.Unit != 7 && !units[d.Unit],
				at+"unit must be 0 to 15, not 7 (the controller's own), and unique"),
			require(d.Capacity > 0 && d.Capacity%1024 == 0, at+"capacity must be whole KiB"),
			require(strings.HasSuffix(d.File, ".vmdk") && d.Flat != "", at+"file and flat must be set"),
			require(d.UUID != "", at+"uuid must be set"))
		keys[d.Key], units[d.Unit] = true, true
	}
	return errors.Join(problems...)
}

func require(holds bool, otherwise string) error {
	if holds {
		return nil
	}
	return errors.New(otherwise)
}
