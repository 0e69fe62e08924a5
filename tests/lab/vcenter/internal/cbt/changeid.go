package cbt

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Everything is the change id that asks for all allocated areas.
const Everything = "*"

var (
	// ErrSyntax says that a text is no change id at all.
	ErrSyntax = errors.New("not a change id of the form <epoch>/<number>")
	// ErrUnusable says that the tracking data cannot answer: another epoch, tracking off,
	// or a number this epoch has never given out.
	ErrUnusable = errors.New("the change tracking data cannot answer for this change id")
)

// ChangeID is the cursor of change tracking: a snapshot's place in one epoch.
// The zero value means "tracking was off".
type ChangeID struct {
	Epoch  string
	Number int64
}

// String is the text that goes on the wire; empty when tracking was off.
func (id ChangeID) String() string {
	if id.Epoch == "" {
		return ""
	}
	return fmt.Sprintf("%s/%d", id.Epoch, id.Number)
}

// ParseChangeID reads "<epoch>/<number>". The epoch is opaque and may hold anything but a slash.
func ParseChangeID(text string) (ChangeID, error) {
	epoch, number, found := strings.Cut(text, "/")
	n, err := strconv.ParseInt(number, 10, 64)
	if !found || epoch == "" || err != nil || n < 0 {
		return ChangeID{}, ErrSyntax
	}
	return ChangeID{Epoch: epoch, Number: n}, nil
}

// EpochText spells 16 bytes the way ESXi spells the UUID in a change id:
// "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63".
func EpochText(id [16]byte) string {
	return fmt.Sprintf("% x-% x", id[:8], id[8:])
}
