// Package vmfstool runs the lab's command that reads and writes files inside a VMFS volume on a
// LUN image. This program knows nothing of VMFS: where a file's bytes lie is the command's secret,
// so that the simulated vCenter can't agree with the appliance on a mistake about it.
package vmfstool

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/tests/lab/vcenter/internal/cbt"
)

// patience is how long one run may take before it is killed.
const patience = 5 * time.Minute

// Tool is the command bound to one image.
type Tool struct {
	command []string
	image   string
	// One run at a time: a write may allocate blocks, which changes metadata of the volume.
	running sync.Mutex
}

// New binds the command to the image; command must not be empty.
func New(command []string, image string) *Tool {
	return &Tool{command: command, image: image}
}

// Map returns the allocated ranges of a file, normalised.
func (t *Tool) Map(path string) ([]cbt.Area, error) {
	out, err := t.run(nil, "map", "--image", t.image, "--path", path)
	if err != nil {
		return nil, err
	}
	var areas []cbt.Area
	if err := json.Unmarshal(out, &areas); err != nil {
		return nil, fmt.Errorf("vmfs-tool map %s: answer is not a list of areas: %w", path, err)
	}
	for _, a := range areas {
		if a.Offset < 0 || a.Length <= 0 {
			return nil, fmt.Errorf("vmfs-tool map %s: impossible area %+v", path, a)
		}
	}
	return cbt.Normalise(areas), nil
}

// Write puts data at offset of the file, allocating blocks where it has none.
func (t *Tool) Write(path string, offset int64, data []byte) error {
	_, err := t.run(data, "write", "--image", t.image, "--path", path,
		"--offset", strconv.FormatInt(offset, 10))
	return err
}

func (t *Tool) run(stdin []byte, arguments ...string) ([]byte, error) {
	t.running.Lock()
	defer t.running.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all := append(append([]string{}, t.command[1:]...), arguments...)
	command := exec.CommandContext(ctx, t.command[0], all...)
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", t.command[0], arguments[0], err,
			strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
