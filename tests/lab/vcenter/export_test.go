package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// An export by somebody else's client, its stream read by somebody else's reader: the guest's bytes
// as of the snapshot, whatever was written since.
func TestExportOfASnapshot(t *testing.T) {
	s := start(t)
	vm, client := s.vm()
	s.guestWrites(100_000, 3000)
	before := s.bytesOf("truth.img", 0, 12<<20)
	taken := snapshot(t, vm, "holdfast-1")
	s.guestWrites(101_000, 70_000)

	answer, err := methods.ExportSnapshot(soon(t), client, &types.ExportSnapshot{This: taken})
	if err != nil {
		t.Fatal(err)
	}
	lease := nfc.NewLease(client.Client, answer.Returnval)
	info, err := lease.Wait(soon(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _, err := client.Download(soon(t), info.Items[0].URL, &soap.DefaultDownload)
	if err != nil {
		t.Fatal(err)
	}
	sum, folder := sha1.New(), t.TempDir()
	stream, err := os.Create(filepath.Join(folder, "a.vmdk"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.MultiWriter(stream, sum), body); err != nil {
		t.Fatal(err)
	}
	manifest, err := lease.GetManifest(soon(t))
	if err != nil || len(manifest) != 1 || manifest[0].Sha1 != hex.EncodeToString(sum.Sum(nil)) {
		t.Fatalf("%v %+v", err, manifest)
	}
	if err := lease.Complete(soon(t)); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(folder, "a.raw")
	if out, err := exec.Command("qemu-img", "convert", "-f", "vmdk", "-O", "raw",
		stream.Name(), raw).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:len(before)], before) {
		t.Fatal("the export is not what the guest saw at the snapshot")
	}
}
