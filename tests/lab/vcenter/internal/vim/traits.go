package vim

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Traits are what a machine can be beside what it is made as.
type Traits struct {
	FaultTolerance *struct {
		Role     int32  `json:"role"`     // 1 = the primary
		Orphaned bool   `json:"orphaned"` // its primary is gone
		State    string `json:"state"`    // such as running or needSecondary
	} `json:"fault_tolerance"`
	Encrypted bool `json:"encrypted"` // its own files have a key
}

// SetTraits changes a machine as it is shown; {} = as it was made. The simulator's methods know
// nothing of either.
func (s *Site) SetTraits(guest *Guest, traits Traits) {
	ctx := s.fresh()
	vm := ctx.Map.Get(guest.ref).(*simulator.VirtualMachine)
	ctx.WithLock(vm, func() {
		config := *vm.Config
		config.FtInfo, config.KeyId = nil, nil
		state := types.VirtualMachineFaultToleranceStateNotConfigured
		if ft := traits.FaultTolerance; ft != nil {
			info := types.FaultToleranceConfigInfo{
				Role: ft.Role, InstanceUuids: []string{guest.Config.InstanceUUID},
				ConfigPaths: []string{s.path(guest.Config.Folder)}, Orphaned: &ft.Orphaned,
			}
			config.FtInfo = &info
			state = types.VirtualMachineFaultToleranceState(ft.State)
		}
		if traits.Encrypted {
			config.KeyId = &types.CryptoKeyId{KeyId: "lab-key"}
		}
		ctx.Update(vm, []types.PropertyChange{
			{Name: "config", Val: &config},
			{Name: "runtime.faultToleranceState", Val: state},
		})
	})
}
