package cbt

// compactAfter bounds how far a list of areas grows before it is merged.
const compactAfter = 1024

// Tracker remembers what changed on one disk since tracking took effect.
//
// Each snapshot gets the next number; a write belongs to the number given out last. So what
// changed between the snapshots n and m is what was written under n, n+1, ... m-1, and writes
// made after m never appear in an answer for m.
//
// Invariant: changes[k] is only filled for 0 <= k <= number.
type Tracker struct {
	epoch   string
	number  int64
	changes map[int64][]Area
}

// Active says whether tracking has taken effect.
func (t *Tracker) Active() bool { return t.epoch != "" }

// Epoch is the current epoch, empty while inactive.
func (t *Tracker) Epoch() string { return t.epoch }

// Stun lets a changed setting take effect, as a host does at a stun: newEpoch is called when
// tracking starts.
func (t *Tracker) Stun(enabled bool, newEpoch func() string) {
	switch {
	case enabled && !t.Active():
		t.Reset(newEpoch())
	case !enabled:
		t.Reset("")
	}
}

// Reset forgets everything and starts the given epoch ("" = tracking off).
func (t *Tracker) Reset(epoch string) {
	*t = Tracker{epoch: epoch, changes: map[int64][]Area{}}
}

// Record remembers a write; without effect while inactive.
func (t *Tracker) Record(a Area) {
	if !t.Active() || a.Length <= 0 {
		return
	}
	list := append(t.changes[t.number], a)
	if len(list) > compactAfter && len(list) == cap(list) {
		list = Normalise(list)
	}
	t.changes[t.number] = list
}

// Stamp gives out the id of a new snapshot, the zero id while inactive.
func (t *Tracker) Stamp() ChangeID {
	if !t.Active() {
		return ChangeID{}
	}
	t.number++
	return ChangeID{Epoch: t.epoch, Number: t.number}
}

// Last is the id given out last; the zero id while inactive.
func (t *Tracker) Last() ChangeID { return ChangeID{Epoch: t.epoch, Number: t.number} }

// Between returns the normalised areas written after since and before until was stamped.
func (t *Tracker) Between(since, until ChangeID) ([]Area, error) {
	usable := t.Active() && since.Epoch == t.epoch && until.Epoch == t.epoch
	if !usable || since.Number > until.Number || until.Number > t.number {
		return nil, ErrUnusable
	}
	return t.collect(since.Number, until.Number), nil
}

// Since returns the normalised areas written after the id, up to now.
func (t *Tracker) Since(since ChangeID) ([]Area, error) {
	if !t.Active() || since.Epoch != t.epoch || since.Number > t.number {
		return nil, ErrUnusable
	}
	return t.collect(since.Number, t.number+1), nil
}

func (t *Tracker) collect(from, to int64) []Area {
	var all []Area
	for number, areas := range t.changes {
		if from <= number && number < to {
			all = append(all, areas...)
		}
	}
	return Normalise(all)
}
