package lab

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"holdfast/tests/lab/vcenter/internal/cbt"
	"holdfast/tests/lab/vcenter/internal/config"
	"holdfast/tests/lab/vcenter/internal/vmfstool"
)

// A tool that must not be run: whatever would reach the base disk fails.
func frozenOnly(t *testing.T, limit int64) *Machine {
	t.Helper()
	truth := filepath.Join(t.TempDir(), "truth.img")
	if err := os.WriteFile(truth, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &config.Config{DeltaLimit: limit, PageAreas: 10, Granularity: 65536}
	vm := config.VM{Name: "v", Disks: []config.Disk{{
		Key: 2000, File: "v.vmdk", Flat: "v-flat.vmdk", Capacity: 1 << 20, Truth: truth,
	}}}
	return NewMachine(vm, c, vmfstool.New([]string{"/nonexistent/vmfs-tool"}, ""))
}

func TestDeltaIsBounded(t *testing.T) {
	m := frozenOnly(t, 1000)
	m.Freeze("s", true)
	if err := m.Write(2000, 0, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := m.Write(2000, 0, []byte{1}); !errors.Is(err, ErrDeltaFull) {
		t.Fatalf("got %v", err)
	}
}

func TestFailedMergeLosesNothing(t *testing.T) {
	m := frozenOnly(t, 1000)
	m.Freeze("s", true)
	if err := m.Write(2000, 100, bytes.Repeat([]byte{7}, 10)); err != nil {
		t.Fatal(err)
	}
	needed, err := m.Release(map[string]bool{}, true, true)
	if !needed || err == nil {
		t.Fatalf("a merge without a tool: needed %v, %v", needed, err)
	}
	if state := m.State(); state.Layers != 1 || len(state.Disks[0].DeltaAreas) != 1 {
		t.Fatalf("the delta is lost: %+v", state)
	}
}

func TestGranularityWidensAreas(t *testing.T) {
	m := frozenOnly(t, 1000)
	since := m.Freeze("one", true)[2000]
	if err := m.Write(2000, 65535, []byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	m.Freeze("two", true)
	page, err := m.Query(2000, "two", since, 0)
	if err != nil || len(page.Areas) != 1 || page.Areas[0] != (cbt.Area{Offset: 0, Length: 131072}) {
		t.Fatalf("%+v, %v", page, err)
	}
}

func TestWritesOutsideTheDisk(t *testing.T) {
	m := frozenOnly(t, 1000)
	m.Freeze("s", true)
	for _, offset := range []int64{-1, 1 << 20, 1<<20 - 1, 1<<63 - 1} {
		if err := m.Write(2000, offset, []byte{1, 2}); !errors.Is(err, ErrRange) {
			t.Errorf("write at %d: %v", offset, err)
		}
	}
}
