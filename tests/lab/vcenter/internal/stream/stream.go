// Package stream writes streamOptimized disks, as a host does for an export lease. It shares no
// code with the appliance, which reads them: a mistake about the format cannot be made twice.
package stream

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	sector   = 512
	grain    = 128 * sector
	perTable = 512
	overhead = 128 // sectors before the first grain
)

// Source is a disk. Data returns the next range that may hold something else than zeros.
type Source interface {
	io.ReaderAt
	Data(from int64) (start, end int64, err error) // start = capacity: nothing more
}

type writer struct {
	out       io.Writer
	capacity  int64
	sectors   int64
	table     [perTable]uint32
	current   int64
	pending   bool
	directory []uint32
}

// Write sends the whole disk.
func Write(out io.Writer, disk Source, capacity int64) error {
	grains := (capacity + grain - 1) / grain
	w := &writer{
		out: out, capacity: capacity,
		directory: make([]uint32, (grains+perTable-1)/perTable),
	}
	front := make([]byte, overhead*sector)
	copy(front, w.header(-1))
	copy(front[sector:], fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=12345678\n"+
		"parentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n# Extent description\n"+
		"RDONLY %d SPARSE \"disk-0.vmdk\"\n\n#DDB\nddb.adapterType = \"lsilogic\"\n", capacity/sector))
	if err := w.write(front); err != nil {
		return err
	}
	for next := int64(0); next < grains; {
		start, end, err := disk.Data(next * grain)
		if err != nil {
			return err
		}
		for next = max(next, start/grain); next < grains && next*grain < end; next++ {
			if err := w.grain(disk, next); err != nil {
				return err
			}
		}
		if start >= capacity {
			break
		}
	}
	return w.finish()
}

func (w *writer) grain(disk Source, number int64) error {
	data := make([]byte, grain)
	length := min(grain, w.capacity-number*grain)
	if _, err := disk.ReadAt(data[:length], number*grain); err != nil {
		return err
	}
	if bytes.Count(data, []byte{0}) == grain {
		return nil
	}
	if number/perTable != w.current {
		if err := w.closeTable(); err != nil {
			return err
		}
		w.current = number / perTable
	}
	var packed bytes.Buffer
	packed.Write(binary.LittleEndian.AppendUint64(nil, uint64(number*grain/sector)))
	packed.Write(make([]byte, 4))
	z, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := z.Write(data); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	all := packed.Bytes()
	binary.LittleEndian.PutUint32(all[8:], uint32(len(all)-12))
	w.table[number%perTable], w.pending = uint32(w.sectors), true
	return w.write(all)
}

func (w *writer) closeTable() error {
	if !w.pending {
		return nil
	}
	if err := w.marker(perTable*4/sector, 1); err != nil {
		return err
	}
	w.directory[w.current] = uint32(w.sectors)
	err := w.write(entries(w.table[:]))
	w.table, w.pending = [perTable]uint32{}, false
	return err
}

func (w *writer) finish() error {
	if err := w.closeTable(); err != nil {
		return err
	}
	directory := entries(w.directory)
	if err := w.marker(int64(len(directory)+sector-1)/sector, 2); err != nil {
		return err
	}
	place := w.sectors
	if err := w.write(directory); err != nil {
		return err
	}
	if err := w.marker(1, 3); err != nil {
		return err
	}
	if err := w.write(w.header(place)); err != nil {
		return err
	}
	return w.marker(0, 0)
}

func (w *writer) marker(sectors int64, kind uint32) error {
	data := binary.LittleEndian.AppendUint64(nil, uint64(sectors))
	data = binary.LittleEndian.AppendUint32(data, 0)
	return w.write(binary.LittleEndian.AppendUint32(data, kind))
}

func (w *writer) header(directory int64) []byte {
	le := binary.LittleEndian
	h := append(le.AppendUint32([]byte("KDMV"), 3), 0x01, 0, 0x03, 0)
	for _, field := range []int64{w.capacity / sector, grain / sector, 1, 20} {
		h = le.AppendUint64(h, uint64(field))
	}
	h = le.AppendUint32(h, perTable)
	for _, field := range []int64{0, directory, overhead} {
		h = le.AppendUint64(h, uint64(field))
	}
	return append(h, 0, '\n', ' ', '\r', '\n', 1, 0)
}

// write pads to whole sectors.
func (w *writer) write(data []byte) error {
	if rest := len(data) % sector; rest > 0 {
		data = append(data, make([]byte, sector-rest)...)
	}
	w.sectors += int64(len(data) / sector)
	_, err := w.out.Write(data)
	return err
}

func entries(table []uint32) []byte {
	var data []byte
	for _, entry := range table {
		data = binary.LittleEndian.AppendUint32(data, entry)
	}
	return data
}
