// Package vim joins the simulator and the lab: it fills the simulator's inventory with the
// configured site, and answers what the simulator cannot from the machines of package lab.
//
//	site.go       the inventory: hosts, datastore, virtual machines
//	storage.go    the LUN and the VMFS volume, and lies about them
//	devices.go    disks and their chains of backings
//	snapshots.go  what happens when a snapshot comes or goes
//	standalone.go the model: a vCenter, or a host alone
//	firmware.go   the configuration that a host packs
//	filebackup.go a vCenter's own file-based backup
//	changes.go    machines that come and go while somebody watches
//	methods.go    QueryChangedDiskAreas, ConsolidateVMDisks_Task, and refusals
//	exports.go   ExportSnapshot and ExportVm: leases whose disks have bytes
//	entities.go   disabled methods, failed tasks, sessions: what the HTTP side asks for
//
// All govmomi types stay in here and in package wire.
package vim

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"holdfast/tests/lab/vcenter/internal/config"
	"holdfast/tests/lab/vcenter/internal/lab"
	"holdfast/tests/lab/vcenter/internal/vmfstool"
)

// Guest is one virtual machine: the simulator's object and the lab's disks.
type Guest struct {
	Config  config.VM
	Machine *lab.Machine
	ref     types.ManagedObjectReference
}

// Site is the running inventory.
type Site struct {
	config *config.Config
	model  *simulator.Model
	// Immutable once New has returned.
	guests []*Guest
	byRef  map[types.ManagedObjectReference]*Guest

	identity  identity
	unmerged  unmerged
	imports   imports
	exports   exports
	directory string // where the simulator keeps its own files of the datastore
}

// New builds the inventory; Close removes its temporary files.
func New(c *config.Config) (*Site, error) {
	s := &Site{
		config: c, model: modelOf(c),
		byRef: map[types.ManagedObjectReference]*Guest{},
	}
	s.identity.now = trueIdentity(c.Datastore)
	introduce(&s.model.ServiceContent.About, c)
	if err := s.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("inventory: %w", err), s.Close())
	}
	return s, nil
}

func (s *Site) build() error {
	if err := s.model.Create(); err != nil {
		return err
	}
	if err := s.createDatastore(); err != nil {
		return err
	}
	s.showStorage()
	tool := vmfstool.New(s.config.VMFSTool, s.config.Datastore.Image)
	for _, vm := range s.config.VMs {
		guest := &Guest{Config: vm, Machine: lab.NewMachine(vm, s.config, tool)}
		if err := s.createVM(guest); err != nil {
			return fmt.Errorf("vm %s: %w", vm.Name, err)
		}
		s.guests = append(s.guests, guest)
		s.byRef[guest.ref] = guest
	}
	for _, guest := range s.guests {
		s.model.Map().Put(&vmMethods{Self: shadowOf(guest.ref), site: s, guest: guest})
	}
	s.model.Map().Put(&exportMethods{site: s})
	s.model.Map().Handler = s.route
	s.model.Map().AddHandler(&snapshotWatch{site: s})
	return nil
}

// Service is the simulator's own HTTP side. The URL says where it will be reached; it also
// carries the account, which the simulator checks at Login.
func (s *Site) Service(at string) *simulator.Service {
	service := s.model.Service
	service.Listen = &url.URL{
		Scheme: "https", Host: at, Path: "/sdk",
		User: url.UserPassword(s.config.User, s.config.Password),
	}
	registry := s.model.Map()
	registry.SessionManager().ServiceHostName = at
	public := url.URL{Scheme: "https", Host: at, Path: "/sdk"}
	registry.OptionManager().UpdateOptions(&types.UpdateOptions{
		ChangedValue: []types.BaseOptionValue{
			&types.OptionValue{Key: "vcsim.server.url", Value: public.String()},
		},
	})
	service.RegisterSDK(registry, registry.Path+"/vimService")
	return service
}

// Guests lists the machines in configured order.
func (s *Site) Guests() []*Guest { return s.guests }

// Guest finds a machine by name, nil when there is none.
func (s *Site) Guest(name string) *Guest {
	for _, guest := range s.guests {
		if guest.Config.Name == name {
			return guest
		}
	}
	return nil
}

// Close removes the simulator's temporary files.
func (s *Site) Close() error {
	if s.model.Service != nil {
		s.model.Remove()
	}
	if s.directory == "" {
		return nil
	}
	return os.RemoveAll(s.directory)
}

// fresh is a context of its own for one action from outside the simulator's dispatch; locks are
// held on behalf of a context, so two actions must never share one.
func (s *Site) fresh() *simulator.Context {
	return &simulator.Context{Context: context.Background(), Map: s.model.Map()}
}
