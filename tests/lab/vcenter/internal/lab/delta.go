package lab

import (
	"errors"
	"fmt"
	"os"

	"holdfast/tests/lab/vcenter/internal/cbt"
)

// ErrDeltaFull says that a frozen VM has written more than its configured limit.
var ErrDeltaFull = errors.New("the delta of this VM is full (delta_limit)")

// deltaStore keeps the bytes written to frozen disks of one VM, in an unlinked temporary file:
// they need no memory and nothing is left behind however the program ends.
type deltaStore struct {
	file  *os.File
	used  int64
	limit int64
}

// append keeps data and returns its position.
func (s *deltaStore) append(data []byte) (int64, error) {
	if s.used+int64(len(data)) > s.limit {
		return 0, fmt.Errorf("%w: %d of %d bytes used", ErrDeltaFull, s.used, s.limit)
	}
	if s.file == nil {
		file, err := os.CreateTemp("", "vcenter-delta-")
		if err != nil {
			return 0, err
		}
		if err := os.Remove(file.Name()); err != nil {
			return 0, errors.Join(err, file.Close())
		}
		s.file = file
	}
	if _, err := s.file.WriteAt(data, s.used); err != nil {
		return 0, err
	}
	position := s.used
	s.used += int64(len(data))
	return position, nil
}

// read returns the bytes of one contiguous run.
func (s *deltaStore) read(run []cbt.Segment) ([]byte, error) {
	var data []byte
	for _, segment := range run {
		piece := make([]byte, segment.Length)
		if _, err := s.file.ReadAt(piece, segment.Source); err != nil {
			return nil, err
		}
		data = append(data, piece...)
	}
	return data, nil
}

// clear forgets everything; the caller knows that no overlay points here any more.
func (s *deltaStore) clear() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file, s.used = nil, 0
	return err
}
