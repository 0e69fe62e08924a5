package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// typeOf names a fault's type whether it came as a value (from the client) or as a pointer.
func typeOf(fault any) string { return strings.TrimLeft(fmt.Sprintf("%T", fault), "*") }

func TestLoginAndInventory(t *testing.T) {
	s := start(t)
	_, err := s.login("wrong")
	wantFault(t, err, &types.InvalidLogin{})

	vm, client := s.vm()
	if about := client.ServiceContent.About; about.ApiVersion != "8.0.2.0" || about.ApiType != "VirtualCenter" {
		t.Fatalf("about: %+v", about)
	}
	var got mo.VirtualMachine
	if err := vm.Properties(soon(t), vm.Reference(), nil, &got); err != nil {
		t.Fatal(err)
	}
	disk := object.VirtualDeviceList(got.Config.Hardware.Device).FindByKey(key).(*types.VirtualDisk)
	b := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	for what, ok := range map[string]bool{
		"on":       got.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn,
		"version":  got.Config.Version == "vmx-19",
		"tracking": got.Capability.ChangeTrackingSupported && !*got.Config.ChangeTrackingEnabled,
		"vmx":      got.Config.Files.VmPathName == "[san01] web01/web01.vmx",
		"tools":    got.Guest.ToolsRunningStatus == "guestToolsRunning",
		"uuid":     got.Config.Uuid == "4211f0a0-1111-2222-3333-444455556666",
		"disk":     disk.CapacityInBytes == capacity && disk.CapacityInKB == capacity/1024,
		"unit":     *disk.UnitNumber == 0 && disk.ControllerKey == 1000,
		"file":     b.FileName == "[san01] web01/web01.vmdk" && b.DiskMode == "persistent",
		"thin":     *b.ThinProvisioned && b.Uuid == "6000C29a-1111-2222-3333-444455556666",
		"ft":       got.Runtime.FaultToleranceState == "notConfigured",
	} {
		if !ok {
			t.Errorf("%s is not as configured", what)
		}
	}
	vms, err := find.NewFinder(client.Client).VirtualMachineList(soon(t), "/DC0/vm/*")
	if err != nil || len(vms) != 1 {
		t.Errorf("machines: %v, %v", vms, err)
	}
}

func TestStorageIdentityAndItsLies(t *testing.T) {
	s := start(t)
	check := func(naa, extent, uuid string) {
		t.Helper()
		luns, volume := s.storage()
		for host, list := range luns {
			if !strings.Contains(list, naa+" ") {
				t.Errorf("host %s lists %q, not %s", host, list, naa)
			}
		}
		if volume.Extent[0].DiskName != extent || volume.Extent[0].Partition != 1 || volume.Uuid != uuid {
			t.Errorf("volume: %+v", volume)
		}
		if len(luns) != 2 {
			t.Errorf("%d hosts", len(luns))
		}
	}
	check(trueNAA, trueNAA, trueUUID)
	s.order(200, "/identity", []byte(`{"naa":"naa.60000000000000000000000000000bad"}`))
	check("naa.60000000000000000000000000000bad", "naa.60000000000000000000000000000bad", trueUUID)
	lie := "00000000-00000000-0000-000000000bad"
	s.order(200, "/identity", []byte(`{"extent_naa":"mpx.vmhba0","vmfs_uuid":"`+lie+`"}`))
	check(trueNAA, "mpx.vmhba0", lie)
	s.order(200, "/identity", []byte(`{}`))
	check(trueNAA, trueNAA, trueUUID)
}

// storage returns the LUN names by host, and the volume.
func (s *site) storage() (map[string]string, *types.HostVmfsVolume) {
	s.t.Helper()
	_, client := s.vm()
	finder := find.NewFinder(client.Client)
	hosts, err := finder.HostSystemList(soon(s.t), "/DC0/host/*/*")
	if err != nil {
		s.t.Fatal(err)
	}
	pc := property.DefaultCollector(client.Client)
	luns := map[string]string{}
	for _, host := range hosts {
		var got mo.HostSystem
		path := []string{"config.storageDevice.scsiLun"}
		if err := pc.RetrieveOne(soon(s.t), host.Reference(), path, &got); err != nil {
			s.t.Fatal(err)
		}
		for _, lun := range got.Config.StorageDevice.ScsiLun {
			luns[host.Name()] += lun.GetScsiLun().CanonicalName + " "
		}
	}
	ds, err := finder.Datastore(soon(s.t), "/DC0/datastore/san01")
	if err != nil {
		s.t.Fatal(err)
	}
	var got mo.Datastore
	if err := pc.RetrieveOne(soon(s.t), ds.Reference(), []string{"info", "summary"}, &got); err != nil {
		s.t.Fatal(err)
	}
	if got.Summary.Type != "VMFS" || got.Summary.Capacity != 1<<30 {
		s.t.Errorf("datastore: %+v", got.Summary)
	}
	return luns, got.Info.(*types.VmfsDatastoreInfo).Vmfs
}

func TestOrderedFaults(t *testing.T) {
	s := start(t)
	vm, _ := s.vm()
	fault := func(text string) { t.Helper(); s.order(200, "/fault", []byte(text)) }
	create := func() error {
		task, err := vm.CreateSnapshot(soon(t), "s", "", false, false)
		if err != nil {
			return err
		}
		return task.Wait(soon(t))
	}

	fault(`{"method":"CreateSnapshot_Task","fault":"ApplicationQuiesceFault","message":"guest said no"}`)
	err := create()
	wantFault(t, err, &types.ApplicationQuiesceFault{})
	if !strings.Contains(err.Error(), "guest said no") {
		t.Errorf("message lost: %v", err)
	}
	fault(`{"method":"CreateSnapshot_Task","fault":"FileLocked","task":true,"detail":{"file":"x.vmdk"}}`)
	wantFault(t, create(), &types.FileLocked{})
	if n := len(s.state().VMs[0].Snapshots); n != 0 {
		t.Fatalf("a failed task left %d snapshots", n)
	}

	var one mo.VirtualMachine
	read := func() error { return vm.Properties(soon(t), vm.Reference(), []string{"name"}, &one) }
	fault(`{"method":"RetrievePropertiesEx","fault":"NotAuthenticated","skip":2,"count":2}`)
	for range 2 {
		if err := read(); err != nil {
			t.Fatalf("a skipped call failed: %v", err)
		}
	}
	wantFault(t, read(), &types.NotAuthenticated{})
	wantFault(t, read(), &types.NotAuthenticated{})
	if err := read(); err != nil {
		t.Fatalf("the rule was not used up: %v", err)
	}

	fault(`{"method":"*","fault":"NoSuchTypeAtAll","count":-1}`)
	if err := read(); err == nil || !strings.Contains(err.Error(), "NoSuchTypeAtAll") {
		t.Errorf("unknown fault type: %v", err)
	}
	s.order(200, "/faults/clear", nil)
	if err := read(); err != nil || len(s.state().Faults) != 0 {
		t.Fatalf("rules are left: %v, %v", err, s.state().Faults)
	}
	for _, bad := range []string{
		`{}`, `{"method":"Login"}`, `{"method":"Login","fault":"x y"}`, `{"method":"Login","typo":1}`,
		`{"method":"Login","fault":"InvalidLogin","count":0}`,
		`{"method":"Login","fault":"InvalidLogin","task":true}`,
		`{"method":"PowerOffVM_Task","fault":"NoSuchTypeAtAll","task":true}`,
	} {
		s.order(400, "/fault", []byte(bad))
	}
}

func TestDelaysAndCutConnections(t *testing.T) {
	s := start(t)
	vm, client := s.vm()
	s.order(200, "/fault", []byte(`{"method":"CurrentTime","delay_ms":300}`))
	begin := time.Now()
	if _, err := methods.GetCurrentTime(soon(t), client.Client); err != nil || time.Since(begin) < 300*time.Millisecond {
		t.Fatalf("after %v: %v", time.Since(begin), err)
	}
	s.order(200, "/fault", []byte(`{"method":"CreateSnapshot_Task","drop_connection":true}`))
	if _, err := vm.CreateSnapshot(soon(t), "never", "", false, false); err == nil || faultOf(err) != nil {
		t.Fatalf("the connection was not cut: %v", err)
	}
	if n := len(s.state().VMs[0].Snapshots); n != 0 {
		t.Fatalf("a cut call made %d snapshots", n)
	}
	s.order(200, "/fault", []byte(`{"method":"CreateSnapshot_Task","drop_answer":true}`))
	if _, err := vm.CreateSnapshot(soon(t), "unheard", "", false, false); err == nil {
		t.Fatal("the answer came through")
	}
	for deadline := time.Now().Add(10 * time.Second); len(s.state().VMs[0].Snapshots) != 1; {
		if time.Now().After(deadline) {
			t.Fatal("the call whose answer was dropped did nothing")
		}
	}
}

func TestSOAPActionIsMandatory(t *testing.T) {
	s := start(t)
	_, client := s.vm()
	for action, want := range map[string]int{"": 500, `"urn:vim25/"`: 200, "urn:vim25/8.0.2.0": 200, "urn:other/1": 500} {
		body := `<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>` +
			`<RetrieveServiceContent xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this>` +
			`</RetrieveServiceContent></Body></Envelope>`
		request, err := http.NewRequest(http.MethodPost, s.line.SDK, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("SOAPAction", action)
		answer, err := client.Client.Client.Client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("SOAPAction %q: %s: %s", action, answer.Status, text)
		}
	}
}

func TestGarbageIsRefused(t *testing.T) {
	s := start(t)
	_, client := s.vm()
	for _, body := range []string{"", "x", "<", "<a/>", "<a><Body/></a>", "<a><Body><b></Body></a>", "\x00\xff"} {
		request, err := http.NewRequest(http.MethodPost, s.line.SDK, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("SOAPAction", "urn:vim25/8.0")
		answer, err := client.Client.Client.Client.Do(request)
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		answer.Body.Close()
		if answer.StatusCode != 500 {
			t.Errorf("%q: %s", body, answer.Status)
		}
	}
}

func TestDisableMethods(t *testing.T) {
	s := start(t)
	vm, client := s.vm()
	manager := object.NewAuthorizationManager(client.Client)
	entity := []types.ManagedObjectReference{vm.Reference()}
	request := []object.DisabledMethodRequest{{Method: "RelocateVM_Task", Reason: "backup"}}
	if err := manager.DisableMethods(soon(t), entity, request, "holdfast"); err != nil {
		t.Fatal(err)
	}
	_, err := vm.Relocate(soon(t), types.VirtualMachineRelocateSpec{}, types.VirtualMachineMovePriorityDefaultPriority)
	wantFault(t, err, &types.MethodDisabled{})
	if got := s.state().VMs[0].DisabledMethods; len(got) != 2 || got[0] != "RelocateVM_Task" {
		t.Fatalf("disabledMethod: %v", got)
	}
	if err := manager.EnableMethods(soon(t), entity, []string{"RelocateVM_Task"}, "holdfast"); err != nil {
		t.Fatal(err)
	}
	if got := s.state().VMs[0].DisabledMethods; len(got) != 0 {
		t.Fatalf("still disabled: %v", got)
	}
	if err := client.Logout(soon(t)); err != nil {
		t.Fatal(err)
	}
	wantFault(t, manager.DisableMethods(soon(t), entity, request, "holdfast"), &types.NotAuthenticated{})
}

func TestExpiredSessions(t *testing.T) {
	s := start(t)
	vm, _ := s.vm()
	if got := s.state().Sessions; got != 1 {
		t.Fatalf("%d sessions", got)
	}
	s.order(200, "/sessions/expire", nil)
	_, err := vm.CreateSnapshot(soon(t), "s", "", false, false)
	wantFault(t, err, &types.NotAuthenticated{})
	if got := s.state(); got.Sessions != 0 || got.Calls["CreateSnapshot_Task"] != 1 || got.Calls["Login"] != 1 {
		t.Fatalf("state: %+v", got)
	}
}

func TestControlRefusesWhatItCannotDo(t *testing.T) {
	s := start(t)
	for path, status := range map[string]int{
		"/write?vm=nobody&disk=2000&offset=0":                            400,
		"/write?vm=web01&disk=2999&offset=0":                             404,
		"/write?vm=web01&disk=2000&offset=-1":                            400,
		"/write?vm=web01&disk=2000&offset=x":                             400,
		fmt.Sprintf("/write?vm=web01&disk=2000&offset=%d", capacity):     400,
		"/write?vm=web01&disk=2000&offset=9223372036854775807":           400,
		fmt.Sprintf("/write?vm=web01&disk=2000&offset=%d", capacity-100): 200,
		"/cbt/reset?vm=web01&disk=2000":                                  409,
		"/cbt/page?areas=0":                                              400,
		"/consolidation?vm=web01&locked=-1":                              400,
		"/nothing":                                                       404,
	} {
		s.order(status, path, []byte("0123456789"))
	}
	// The tool fails: the guest's write fails, and the truth stays as it was.
	if err := os.Remove(s.lun + "/web01-flat.vmdk"); err != nil {
		t.Fatal(err)
	}
	s.order(500, "/write?vm=web01&disk=2000&offset=0", []byte("0123456789"))
	if !bytes.Equal(s.bytesOf("truth.img", 0, 10), make([]byte, 10)) {
		t.Fatal("the truth has a write that failed")
	}
}

// The program as a process: it announces itself, and ends in each of the three ways.
func TestProcessEnds(t *testing.T) {
	for name, end := range map[string]func(*exec.Cmd, io.Closer, string) error{
		"SIGTERM": func(c *exec.Cmd, _ io.Closer, _ string) error { return c.Process.Signal(syscall.SIGTERM) },
		"stdin":   func(_ *exec.Cmd, in io.Closer, _ string) error { return in.Close() },
		"control": func(_ *exec.Cmd, _ io.Closer, at string) error {
			answer, err := http.Post(at+"/shutdown", "", nil)
			if err == nil {
				answer.Body.Close()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := writeConfig(t, siteConfig(t))
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			program := exec.CommandContext(ctx, os.Args[0], "-config", file, "-exit-on-stdin-eof")
			program.Env = append(os.Environ(), "VCENTER_TEST_ROLE=vcenter", "TMPDIR="+t.TempDir())
			in, err := program.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := program.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			program.Stderr = os.Stderr
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			var line announcement
			if err := json.NewDecoder(out).Decode(&line); err != nil {
				t.Fatal(err)
			}
			if err := end(program, in, line.Control); err != nil {
				t.Fatal(err)
			}
			if err := program.Wait(); err != nil {
				t.Fatalf("ended with %v", err)
			}
			left, err := os.ReadDir(envOf(program, "TMPDIR"))
			if err != nil || len(left) != 0 {
				t.Fatalf("temporary files are left: %v, %v", left, err)
			}
		})
	}
}

func envOf(c *exec.Cmd, name string) string {
	value := ""
	for _, entry := range c.Env {
		if v, found := strings.CutPrefix(entry, name+"="); found {
			value = v
		}
	}
	return value
}
