package cbt

import (
	"bytes"
	"errors"
	"math/rand"
	"reflect"
	"slices"
	"testing"
)

func TestNormaliseKeepsTheSameBytes(t *testing.T) {
	for seed := int64(0); seed < 500; seed++ {
		r := rand.New(rand.NewSource(seed))
		areas := randomAreas(r, 300)
		got := Normalise(areas)
		if !reflect.DeepEqual(paint(areas, 400), paint(got, 400)) {
			t.Fatalf("seed %d: %v became %v", seed, areas, got)
		}
		for i := 1; i < len(got); i++ {
			if got[i].Offset <= got[i-1].End() {
				t.Fatalf("seed %d: areas touch or overlap: %v", seed, got)
			}
		}
	}
}

func TestRoundWidensAndStopsAtCapacity(t *testing.T) {
	for _, c := range []struct{ in, want Area }{
		{Area{0, 512}, Area{0, 512}},
		{Area{1, 1}, Area{0, 512}},
		{Area{511, 2}, Area{0, 1024}},
		{Area{1000, 30}, Area{512, 528}},
	} {
		if got := c.in.Round(512, 1040); got != c.want {
			t.Errorf("Round(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestLoopedPagesGiveExactlyTheAreas(t *testing.T) {
	const capacity = 400
	for seed := int64(0); seed < 500; seed++ {
		r := rand.New(rand.NewSource(seed))
		areas := Normalise(randomAreas(r, 300))
		limit := 1 + r.Intn(4)
		var all []Area
		start, pages := int64(0), 0
		for start < capacity {
			page := Cut(areas, start, capacity, limit)
			if page.Start != start || page.Length <= 0 || len(page.Areas) > limit {
				t.Fatalf("seed %d: bad page %+v for start %d", seed, page, start)
			}
			all = append(all, page.Areas...)
			start += page.Length
			pages++
		}
		if start != capacity || !slices.Equal(Normalise(all), areas) {
			t.Fatalf("seed %d: %d pages gave %v, want %v", seed, pages, all, areas)
		}
	}
}

func TestCutInTheMiddleOfAnArea(t *testing.T) {
	page := Cut([]Area{{0, 100}, {200, 100}}, 50, 400, 1)
	want := Page{Start: 50, Length: 50, Areas: []Area{{50, 50}}}
	if !reflect.DeepEqual(page, want) {
		t.Fatalf("got %+v, want %+v", page, want)
	}
}

func TestTrackerAnswersOnlyBetweenSnapshots(t *testing.T) {
	var tracker Tracker
	tracker.Record(Area{0, 512})
	if id := tracker.Stamp(); id.String() != "" {
		t.Fatalf("an inactive tracker stamped %q", id)
	}
	tracker.Stun(true, func() string { return "e1" })
	first := tracker.Stamp()
	tracker.Record(Area{1024, 512})
	second := tracker.Stamp()
	tracker.Record(Area{4096, 512})
	third := tracker.Stamp()

	check := func(since, until ChangeID, want []Area) {
		t.Helper()
		got, err := tracker.Between(since, until)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("Between(%s, %s) = %v, %v; want %v", since, until, got, err, want)
		}
	}
	check(first, second, []Area{{1024, 512}})
	check(second, third, []Area{{4096, 512}})
	check(first, third, []Area{{1024, 512}, {4096, 512}})
	check(second, second, []Area{})
	if _, err := tracker.Between(third, second); !errors.Is(err, ErrUnusable) {
		t.Fatalf("a later id was accepted: %v", err)
	}
}

func TestTrackerRefusesAnotherEpoch(t *testing.T) {
	var tracker Tracker
	tracker.Stun(true, func() string { return "e1" })
	old := tracker.Stamp()
	tracker.Stun(true, func() string { t.Fatal("a running epoch was replaced"); return "" })
	tracker.Reset("e2")
	now := tracker.Stamp()
	if _, err := tracker.Between(old, now); !errors.Is(err, ErrUnusable) {
		t.Fatalf("an id of another epoch was accepted: %v", err)
	}
	tracker.Stun(false, nil)
	if _, err := tracker.Since(now); !errors.Is(err, ErrUnusable) || tracker.Active() {
		t.Fatalf("tracking went on after it was switched off: %v", err)
	}
}

func TestTrackerCompactsWithoutLosingAnything(t *testing.T) {
	var tracker Tracker
	tracker.Reset("e1")
	since := tracker.Stamp()
	for i := int64(0); i < 100_000; i++ {
		tracker.Record(Area{(i % 5000) * 1024, 512})
	}
	if n := len(tracker.changes[since.Number]); n > 20_000 {
		t.Fatalf("100000 writes over 5000 places keep %d areas", n)
	}
	got, err := tracker.Since(since)
	if err != nil || len(got) != 5000 {
		t.Fatalf("got %d areas, %v; want 5000", len(got), err)
	}
}

func TestChangeIDText(t *testing.T) {
	id := ChangeID{Epoch: EpochText([16]byte{0x52, 0xde, 15: 0x63}), Number: 81}
	if want := "52 de 00 00 00 00 00 00-00 00 00 00 00 00 00 63/81"; id.String() != want {
		t.Fatalf("got %q, want %q", id, want)
	}
	if back, err := ParseChangeID(id.String()); err != nil || back != id {
		t.Fatalf("%v, %v", back, err)
	}
	for _, text := range []string{"", "*", "x", "/1", "x/", "x/-1", "x/y", "x/1/2"} {
		if got, err := ParseChangeID(text); !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseChangeID(%q) = %v, %v", text, got, err)
		}
	}
}

// The overlay is compared with the plainest model there is: an array that is written over.
func TestOverlayIsLastWriterWins(t *testing.T) {
	for seed := int64(0); seed < 500; seed++ {
		r := rand.New(rand.NewSource(seed))
		model := make([]byte, 256)
		var store []byte
		layers := [2]Overlay{}
		for i := range layers {
			for range r.Intn(30) {
				offset, length := r.Intn(256), r.Intn(40)
				length = min(length, 256-offset)
				data := make([]byte, length)
				r.Read(data)
				layers[i].Insert(Segment{int64(offset), int64(length), int64(len(store))})
				store = append(store, data...)
				copy(model[offset:], data)
			}
		}
		layers[0].Merge(&layers[1])
		limit := int64(1 + r.Intn(64))
		got := make([]byte, 256)
		for _, run := range layers[0].Runs(limit) {
			size, next := int64(0), run[0].Offset
			for _, s := range run {
				if s.Offset != next {
					t.Fatalf("seed %d: run with a gap: %v", seed, run)
				}
				copy(got[s.Offset:], store[s.Source:s.Source+s.Length])
				size, next = size+s.Length, s.end()
			}
			if size > limit {
				t.Fatalf("seed %d: run of %d bytes, limit %d", seed, size, limit)
			}
		}
		if !bytes.Equal(got, model) {
			t.Fatalf("seed %d: the overlay differs from the model", seed)
		}
	}
}

func randomAreas(r *rand.Rand, span int64) []Area {
	areas := make([]Area, r.Intn(20))
	for i := range areas {
		areas[i] = Area{r.Int63n(span), r.Int63n(40)}
	}
	return areas
}

func paint(areas []Area, size int) []bool {
	canvas := make([]bool, size)
	for _, a := range areas {
		for i := a.Offset; i < a.End(); i++ {
			canvas[i] = true
		}
	}
	return canvas
}
