package vim

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// downloads is where hosts offer the files that they have packed.
const downloads = "/downloads/"

// firmware is a host's HostFirmwareSystem, whose reference dangles in the simulator.
type firmware struct {
	mo.HostFirmwareSystem
	host *simulator.HostSystem
	at   string // host and port of the URLs
}

// BackupFirmwareConfiguration names the file, as a host does: by http, and a host alone names
// itself by an asterisk.
func (f *firmware) BackupFirmwareConfiguration(
	*simulator.Context, *types.BackupFirmwareConfiguration,
) soap.HasFault {
	url := fmt.Sprintf("http://%s%sconfigBundle-%s.tgz", f.at, downloads, f.host.Name)
	return &methods.BackupFirmwareConfigurationBody{
		Res: &types.BackupFirmwareConfigurationResponse{Returnval: url},
	}
}

// AddFirmware gives every host its firmware system and the certificate that the lab shows. Behind
// the lab's vCenter all hosts are reached at its own address.
func (s *Site) AddFirmware(at string, der []byte) {
	if s.config.Standalone {
		at = "*"
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	ctx := s.fresh()
	for _, host := range s.hosts() {
		system := &firmware{host: host, at: at}
		system.Self = types.ManagedObjectReference{
			Type: "HostFirmwareSystem", Value: "firmware-" + host.Self.Value,
		}
		ctx.Map.Put(system)
		ctx.Map.AtomicUpdate(ctx, host, []types.PropertyChange{
			{Name: "configManager.firmwareSystem", Val: &system.Self},
			{Name: "config.certificate", Val: types.ByteSlice(text)},
		})
	}
}

// Downloads serves the packed files.
func (s *Site) Downloads() (string, http.Handler) {
	return downloads, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, downloads)
		for _, host := range s.hosts() {
			if name == "configBundle-"+host.Name+".tgz" {
				fmt.Fprintf(w, "packed configuration of %s\n", host.Name)
				return
			}
		}
		http.NotFound(w, r)
	})
}
