package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"

	"holdfast/tests/lab/vcenter/internal/config"
	"holdfast/tests/lab/vcenter/internal/control"
)

const (
	user     = "administrator@vsphere.local"
	password = "Lab-Secret-1!"
	trueNAA  = "naa.6001405a1b2c3d4e5f60718293a4b5c6"
	trueUUID = "65f0a1b2-c3d4e5f6-0718-293a4b5c6d7e"
	capacity = 64 << 20
	key      = 2000
)

// TestMain lets the test binary be two other programs as well: the stand-in for vmfs-tool, and
// this program itself, so that the tests need nothing built beforehand.
func TestMain(m *testing.M) {
	switch os.Getenv("VCENTER_TEST_ROLE") {
	case "":
		os.Exit(m.Run())
	case "vmfs-tool":
		if err := standIn(os.Args[1:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "stand-in:", err)
			os.Exit(1)
		}
	case "vcenter":
		os.Setenv("VCENTER_TEST_ROLE", "vmfs-tool") // for the tools it will run
		main()
	}
}

// standIn plays vmfs-tool on a "LUN" that is a directory of plain files: `map` prints the canned
// list FLAT.map, `write` writes into FLAT.
func standIn(arguments []string, in io.Reader, out io.Writer) error {
	options := map[string]string{}
	for i := 1; i+1 < len(arguments); i += 2 {
		options[arguments[i]] = arguments[i+1]
	}
	flat := filepath.Join(options["--image"], filepath.Base(options["--path"]))
	if arguments[0] == "map" {
		list, err := os.ReadFile(flat + ".map")
		if err == nil {
			_, err = out.Write(list)
		}
		return err
	}
	offset, err := strconv.ParseInt(options["--offset"], 10, 64)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(flat, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt(data, offset)
	return err
}

// site is a running lab vCenter with one VM of one disk.
type site struct {
	t    *testing.T
	line announcement
	lun  string // directory of the stand-in
}

// siteConfig is a site of one VM with one disk, on the stand-in's "LUN".
func siteConfig(t *testing.T) *config.Config {
	t.Helper()
	t.Setenv("VCENTER_TEST_ROLE", "vmfs-tool")
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each run of the stand-in takes a second with -race
	lun := t.TempDir()
	for _, name := range []string{"web01-flat.vmdk", "truth.img"} {
		if err := os.WriteFile(filepath.Join(lun, name), make([]byte, capacity), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	canned := `[{"offset":0,"length":1048576},{"offset":4194304,"length":1048576},{"offset":8388608,"length":1048576}]`
	if err := os.WriteFile(filepath.Join(lun, "web01-flat.vmdk.map"), []byte(canned), 0o600); err != nil {
		t.Fatal(err)
	}
	return &config.Config{
		User: user, Password: password, APIVersion: "8.0.2.0",
		Datastore: config.Datastore{
			Name: "san01", NAA: trueNAA, VMFSUUID: trueUUID, Capacity: 1 << 30, Partition: 1,
			LUNSectors: 2 << 20, Image: lun,
		},
		VMFSTool: []string{os.Args[0]},
		VMs: []config.VM{{
			Name: "web01", Folder: "web01", GuestID: "debian12_64Guest",
			UUID:         "4211f0a0-1111-2222-3333-444455556666",
			InstanceUUID: "5011f0a0-1111-2222-3333-444455556666",
			Disks: []config.Disk{{
				Key: key, Unit: 0, File: "web01/web01.vmdk", Flat: "web01/web01-flat.vmdk",
				Capacity: capacity, Thin: true, UUID: "6000C29a-1111-2222-3333-444455556666",
				Truth: filepath.Join(lun, "truth.img"),
			}},
		}},
	}
}

// writeConfig puts the configuration into the file that the program reads.
func writeConfig(t *testing.T, c *config.Config) string {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "site.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// start runs the program inside the test; it ends with the test.
func start(t *testing.T) *site {
	t.Helper()
	return startWith(t, siteConfig(t))
}

func startWith(t *testing.T, wanted *config.Config) *site {
	t.Helper()
	c, err := config.Load(writeConfig(t, wanted))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := serve(ctx, c, writer)
		writer.CloseWithError(io.EOF)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	s := &site{t: t, lun: c.Datastore.Image}
	text, err := bufio.NewReader(reader).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no announcement: %v", err)
	}
	if err := json.Unmarshal(text, &s.line); err != nil {
		t.Fatal(err)
	}
	return s
}

// login connects with govmomi's client, which checks the thumbprint.
func (s *site) login(secret string) (*govmomi.Client, error) {
	at, err := soap.ParseURL(s.line.SDK)
	if err != nil {
		return nil, err
	}
	at.User = nil
	client := soap.NewClient(at, false)
	client.SetThumbprint(at.Host, s.line.Thumbprint)
	vc, err := vim25.NewClient(context.Background(), client)
	if err != nil {
		return nil, err
	}
	session := &govmomi.Client{Client: vc, SessionManager: newSessionManager(vc)}
	return session, session.Login(context.Background(), url.UserPassword(user, secret))
}

func (s *site) vm() (*object.VirtualMachine, *govmomi.Client) {
	s.t.Helper()
	client, err := s.login(password)
	if err != nil {
		s.t.Fatal(err)
	}
	vm, err := find.NewFinder(client.Client).VirtualMachine(context.Background(), "/DC0/vm/web01")
	if err != nil {
		s.t.Fatal(err)
	}
	return vm, client
}

// order sends a control request and wants the given status.
func (s *site) order(status int, path string, body []byte) []byte {
	s.t.Helper()
	answer, err := http.Post(s.line.Control+path, "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if answer.StatusCode != status {
		s.t.Fatalf("POST %s: %s: %s", path, answer.Status, text)
	}
	return text
}

func (s *site) state() control.State {
	s.t.Helper()
	answer, err := http.Get(s.line.Control + "/state")
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	var state control.State
	if err := json.NewDecoder(answer.Body).Decode(&state); err != nil {
		s.t.Fatal(err)
	}
	return state
}

// guestWrites lets the guest write random bytes and returns them.
func (s *site) guestWrites(offset int64, length int) []byte {
	s.t.Helper()
	data := make([]byte, length)
	rand.Read(data)
	s.order(200, fmt.Sprintf("/write?vm=web01&disk=%d&offset=%d", key, offset), data)
	return data
}

func (s *site) bytesOf(name string, offset int64, length int) []byte {
	s.t.Helper()
	file, err := os.Open(filepath.Join(s.lun, name))
	if err != nil {
		s.t.Fatal(err)
	}
	defer file.Close()
	data := make([]byte, length)
	if _, err := file.ReadAt(data, offset); err != nil {
		s.t.Fatal(err)
	}
	return data
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
