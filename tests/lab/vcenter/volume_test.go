package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"holdfast/tests/lab/vcenter/internal/cbt"
)

const flat = "web01/web01-flat.vmdk"

// On a real VMFS volume, made and written by the real vmfs-tool and read back by dissect.vmfs,
// which no one here wrote: guest writes and snapshots in random order end with volume and truth
// equal, and a frozen disk does not change on the volume.
func TestOnARealVolume(t *testing.T) {
	tool, python := realTool(t), dissect(t)
	v := newVolume(t, tool, python)
	vm, _ := v.vm()
	enableTracking(t, vm)

	seed := rand.Int63()
	if text := os.Getenv("HOLDFAST_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatalf("HOLDFAST_SEED: %v", err)
		}
	}
	t.Logf("HOLDFAST_SEED=%d", seed)
	r := rand.New(rand.NewSource(seed))
	base := snapshot(t, vm, "base")
	if got, _ := loop(t, vm, base, "*"); !slices.Equal(got, []cbt.Area{{Offset: 0, Length: 3 << 20}}) {
		t.Fatalf("allocated on the volume: %v", got)
	}
	since := changeID(t, vm, base)
	remove(t, vm, base)

	for round := range 3 {
		wrote := v.writeAnywhere(r, 20)
		snap := snapshot(t, vm, fmt.Sprintf("round %d", round))
		if v.onVolume() != v.truth() {
			t.Fatalf("round %d: volume and truth differ at the snapshot", round)
		}
		frozen := v.truth()
		got, _ := loop(t, vm, snap, since)
		if want := cbt.Normalise(wrote); !slices.Equal(got, want) {
			t.Fatalf("round %d: changed %v, want %v", round, got, want)
		}
		v.carried = v.writeAnywhere(r, 20)
		if v.onVolume() != frozen || v.truth() == frozen {
			t.Fatalf("round %d: the frozen disk changed on the volume, or the truth did not", round)
		}
		since = changeID(t, vm, snap)
		remove(t, vm, snap)
	}
	if v.onVolume() != v.truth() {
		t.Fatal("volume and truth differ at the end")
	}
}

// volume is a site on a real VMFS image.
type volume struct {
	*site
	python, image, truthFile string
	// Written while frozen, so changed since that snapshot. Joined to the next round's writes.
	carried []cbt.Area
}

func newVolume(t *testing.T, tool, python string) *volume {
	t.Helper()
	directory := t.TempDir()
	v := &volume{
		python: python, image: filepath.Join(directory, "lun.img"),
		truthFile: filepath.Join(directory, "truth.img"),
	}
	raw := make([]byte, 3<<20) // the rest is a hole, which the formatter leaves unallocated
	rand.New(rand.NewSource(1)).Read(raw)
	spec, err := json.Marshal(map[string]any{
		"size": 2 << 30, "label": "san01", "naa": trueNAA,
		"disks": []any{map[string]any{"path": flat, "raw": v.truthFile, "thin": true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	specFile := filepath.Join(directory, "spec.json")
	for name, content := range map[string][]byte{v.truthFile: raw, specFile: spec} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(v.truthFile, capacity); err != nil {
		t.Fatal(err)
	}
	output(t, tool, "create", "--image", v.image, "--spec", specFile)
	c := siteConfig(t)
	c.VMFSTool, c.Datastore.Image = []string{tool}, v.image
	c.VMs[0].Disks[0].Truth = v.truthFile
	v.site = startWith(t, c)
	return v
}

// writeAnywhere writes in holes and data alike and returns the areas since the last snapshot.
func (v *volume) writeAnywhere(r *rand.Rand, times int) []cbt.Area {
	areas := v.carried
	v.carried = nil
	for range times {
		offset, length := r.Int63n(capacity-300_000), 1+r.Intn(300_000)
		v.guestWrites(offset, length)
		area := cbt.Area{Offset: offset, Length: int64(length)}
		areas = append(areas, area.Round(cbt.SectorSize, capacity))
	}
	return areas
}

// onVolume is the digest of the flat file as dissect.vmfs reads it.
func (v *volume) onVolume() string {
	v.t.Helper()
	script := filepath.Join("..", "..", "..", "appliance", "vmfs", "tests", "dissect_check.py")
	var answer struct {
		Ranges json.RawMessage `json:"ranges"`
	}
	out := output(v.t, v.python, script, "--hash-max", "0",
		"--range", fmt.Sprintf("%s:0:%d", flat, capacity), v.image)
	if err := json.Unmarshal(out, &answer); err != nil {
		v.t.Fatal(err)
	}
	var digests []string
	if err := json.Unmarshal(answer.Ranges, &digests); err != nil || len(digests) != 1 {
		v.t.Fatalf("dissect says %s (%v)", answer.Ranges, err)
	}
	return digests[0]
}

func (v *volume) truth() string {
	v.t.Helper()
	content, err := os.ReadFile(v.truthFile)
	if err != nil {
		v.t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func realTool(t *testing.T) string {
	t.Helper()
	tool := os.Getenv("HOLDFAST_VMFS_TOOL")
	if tool == "" {
		tool = filepath.Join("..", "..", "..", "target", "debug", "vmfs-tool")
	}
	absolute, err := filepath.Abs(tool)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(absolute); err != nil {
		t.Skipf("SKIPPED: %s: no vmfs-tool (cargo build -p fakes --bin vmfs-tool): %v", t.Name(), err)
	}
	return absolute
}

func dissect(t *testing.T) string {
	t.Helper()
	python := filepath.Join(os.Getenv("HOLDFAST_VENV"), "bin", "python")
	if out, err := exec.Command(python, "-c", "import dissect.vmfs").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: %s: HOLDFAST_VENV names no Python with dissect.vmfs: %v: %s", t.Name(), err, out)
	}
	return python
}

func output(t *testing.T, program string, arguments ...string) []byte {
	t.Helper()
	out, err := exec.Command(program, arguments...).Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return out
}
