package vim

import (
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"holdfast/tests/lab/vcenter/internal/config"
)

// modelOf is what the site is built into: a vCenter with a cluster of two hosts, or one host that
// speaks for itself (about.apiType HostAgent), without clusters, tags and custom attributes.
func modelOf(c *config.Config) *simulator.Model {
	if c.Standalone {
		model := simulator.ESX()
		model.Machine, model.Datastore = 0, 0
		return model
	}
	model := simulator.VPX()
	model.Machine, model.Datastore, model.Host, model.ClusterHost = 0, 0, 0, 2
	return model
}

// introduce lets the server say what it is, in the configured version.
func introduce(about *types.AboutInfo, c *config.Config) {
	parts := strings.Split(c.APIVersion, ".")
	about.ApiVersion = c.APIVersion
	about.Version = strings.Join(parts[:min(3, len(parts))], ".")
	product := "VMware vCenter Server "
	if c.Standalone {
		product = "VMware ESXi "
	}
	about.FullName = product + about.Version + " (Holdfast lab)"
}

// rootPool is where the machines run: the pool of the cluster, or of the host.
func (s *Site) rootPool() types.ManagedObjectReference {
	registry := s.model.Map()
	if cluster, ok := registry.Any("ClusterComputeResource").(*simulator.ClusterComputeResource); ok {
		return *cluster.ResourcePool
	}
	return registry.Any("ResourcePool").Reference()
}
