package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The whole sequence by a client that this project did not write. HOLDFAST_VENV names a Python
// environment with tests/lab/pyvmomi/requirements.txt installed.
func TestPyvmomiSequence(t *testing.T) {
	venv := os.Getenv("HOLDFAST_VENV")
	if venv == "" {
		t.Skip("SKIPPED: TestPyvmomiSequence: HOLDFAST_VENV names no Python with pyVmomi")
	}
	python := filepath.Join(venv, "bin", "python")
	if out, err := exec.Command(python, "-c", "import pyVmomi").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: TestPyvmomiSequence: %s has no pyVmomi: %v: %s", python, err, out)
	}
	s := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, filepath.Join("..", "pyvmomi", "sequence.py"),
		s.line.SDK, user, password, s.line.Thumbprint, s.line.Control).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("sequence.py: %v", err)
	}
	if state := s.state(); state.Sessions != 0 || len(state.VMs[0].Snapshots) != 0 {
		t.Errorf("the sequence left something behind: %+v", state)
	}
}
