package vim

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/rest"
	vapi "github.com/vmware/govmomi/vapi/simulator"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
)

// folder is where the VM belongs in the inventory; it is made when it is not there.
func (s *Site) folder(ctx context.Context, client *vim25.Client, name string) (*object.Folder, error) {
	registry := s.model.Map()
	datacenter := registry.Any("Datacenter").(*simulator.Datacenter)
	root := object.NewFolder(client, datacenter.VmFolder)
	if name == "" || s.config.Standalone { // a host has no folders of VMs
		return root, nil
	}
	for _, child := range registry.Get(datacenter.VmFolder).(*simulator.Folder).ChildEntity {
		if folder, ok := registry.Get(child).(*simulator.Folder); ok && folder.Name == name {
			return object.NewFolder(client, child), nil
		}
	}
	return root.CreateFolder(ctx, name)
}

// describe gives the VM its custom attributes.
func (s *Site) describe(ctx context.Context, client *vim25.Client, guest *Guest) error {
	if len(guest.Config.Attributes) == 0 || s.config.Standalone {
		return nil
	}
	manager, err := object.GetCustomFieldsManager(client)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(guest.Config.Attributes)) {
		key, err := manager.FindKey(ctx, name)
		if errors.Is(err, object.ErrKeyNameNotFound) {
			def, failed := manager.Add(ctx, name, "VirtualMachine", nil, nil)
			if failed != nil {
				return failed
			}
			key, err = def.Key, nil
		}
		if err != nil {
			return err
		}
		if err := manager.Set(ctx, guest.ref, key, guest.Config.Attributes[name]); err != nil {
			return err
		}
	}
	return nil
}

// REST is the simulator's own REST side, of which the tags are used; the configured ones are there.
func (s *Site) REST(ctx context.Context, at string) (http.Handler, error) {
	if s.config.Standalone {
		return http.NotFoundHandler(), nil // a host has none
	}
	user := url.UserPassword(s.config.User, s.config.Password)
	_, handler := vapi.New(&url.URL{Scheme: "https", Host: at, User: user}, s.model.Map())
	server := httptest.NewServer(handler)
	defer server.Close()
	here, err := url.Parse(server.URL)
	if err != nil {
		return nil, err
	}
	client := rest.NewClient(&vim25.Client{Client: soap.NewClient(here, true)})
	if err := client.Login(ctx, user); err != nil {
		return nil, err
	}
	return handler, errors.Join(s.tag(ctx, tags.NewManager(client)), client.Logout(ctx))
}

func (s *Site) tag(ctx context.Context, manager *tags.Manager) error {
	categories := map[string]string{}
	made := map[string]string{} // VMs share tags
	for _, guest := range s.guests {
		for _, category := range slices.Sorted(maps.Keys(guest.Config.Tags)) {
			if categories[category] == "" {
				id, err := manager.CreateCategory(ctx, &tags.Category{
					Name: category, Cardinality: "MULTIPLE", AssociableTypes: []string{"VirtualMachine"},
				})
				if err != nil {
					return err
				}
				categories[category] = id
			}
			tag := &tags.Tag{Name: guest.Config.Tags[category], CategoryID: categories[category]}
			name := category + "/" + tag.Name
			id, known := made[name]
			if !known {
				var err error
				if id, err = manager.CreateTag(ctx, tag); err != nil {
					return err
				}
				made[name] = id
			}
			if err := manager.AttachTag(ctx, id, guest.ref); err != nil {
				return err
			}
		}
	}
	return nil
}
