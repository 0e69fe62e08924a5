package lab

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrNoTruth says that nobody knows what the guest sees on this disk.
var ErrNoTruth = errors.New("this disk has no truth image to export")

// replaced are bytes of the truth image that a write replaced, while snapshots existed.
type replaced struct {
	offset int64
	data   []byte
}

// remember keeps what a write is about to replace, for those who export the newest snapshot.
func (m *Machine) remember(d *disk, offset int64, length int) error {
	if len(m.layers) == 0 || d.config.Truth == "" {
		return nil
	}
	file, err := os.Open(d.config.Truth)
	if err != nil {
		return fmt.Errorf("truth image: %w", err)
	}
	defer file.Close()
	old := replaced{offset, make([]byte, length)}
	if _, err := file.ReadAt(old.data, offset); err != nil {
		return fmt.Errorf("truth image: %w", err)
	}
	m.layers[len(m.layers)-1].append(d.config.Key, []replaced{old})
	return nil
}

// append adds what was replaced later.
func (l *layer) append(key int32, later []replaced) {
	if l.before == nil {
		l.before = map[int32][]replaced{}
	}
	l.before[key] = append(l.before[key], later...)
}

// Export is one disk as of a snapshot. It comes from the truth image and not from the volume, so
// that an export says what the guest wrote, whatever the volume's formatter made of it.
type Export struct {
	machine  *Machine
	disk     *disk
	snapshot string
	file     *os.File
}

// Export opens a disk as of a snapshot, or as it is now for "".
func (m *Machine) Export(key int32, snapshot string) (*Export, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.disks[key]
	if d == nil {
		return nil, fmt.Errorf("%w: %d", ErrNoDisk, key)
	}
	if _, _, err := m.locate(d, snapshot); err != nil {
		return nil, err
	}
	if d.config.Truth == "" {
		return nil, ErrNoTruth
	}
	file, err := os.Open(d.config.Truth)
	if err != nil {
		return nil, err
	}
	return &Export{machine: m, disk: d, snapshot: snapshot, file: file}, nil
}

// Capacity is the disk's, in bytes.
func (e *Export) Capacity() int64 { return e.disk.config.Capacity }

// Close ends the reading.
func (e *Export) Close() error { return e.file.Close() }

// ReadAt implements io.ReaderAt: the truth, less what was written since the snapshot.
func (e *Export) ReadAt(data []byte, offset int64) (int, error) {
	m := e.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := e.file.ReadAt(data, offset)
	if err != nil {
		return n, err
	}
	since, err := m.since(e.snapshot)
	if err != nil {
		return 0, err
	}
	for i := len(since) - 1; i >= 0; i-- {
		olds := since[i].before[e.disk.config.Key]
		for j := len(olds) - 1; j >= 0; j-- {
			undo(data, offset, olds[j])
		}
	}
	return n, nil
}

// since are the layers that hold what was written after the snapshot.
func (m *Machine) since(snapshot string) ([]*layer, error) {
	if snapshot == "" {
		return nil, nil
	}
	for i, l := range m.layers {
		if l.snapshot == snapshot {
			return m.layers[i:], nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNoSnapshot, snapshot)
}

func undo(data []byte, offset int64, old replaced) {
	from := max(offset, old.offset)
	until := min(offset+int64(len(data)), old.offset+int64(len(old.data)))
	if from < until {
		copy(data[from-offset:until-offset], old.data[from-old.offset:])
	}
}

// Data returns the next range of the truth image that is no hole. What a write since the
// snapshot replaced may be a hole nowhere: the write itself filled it.
func (e *Export) Data(from int64) (start, end int64, err error) {
	const seekData, seekHole = 3, 4
	start, err = e.file.Seek(from, seekData)
	if errors.Is(err, syscall.ENXIO) {
		return e.Capacity(), e.Capacity(), nil
	}
	if err != nil {
		return 0, 0, err
	}
	end, err = e.file.Seek(start, seekHole)
	return start, min(end, e.Capacity()), err
}
