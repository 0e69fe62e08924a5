package main

import (
	"bytes"
	"math/rand"
	"net/http"
	"strconv"
	"sync"
	"testing"
)

// Guests that write while snapshots come and go, and somebody who looks: nothing is lost, nothing
// waits for each other for ever. Most useful with -race.
func TestEverythingAtOnce(t *testing.T) {
	s := start(t)
	vm, _ := s.vm()
	enableTracking(t, vm)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	repeat := func(action func(r *rand.Rand) error) {
		seed := rand.Int63()
		busy.Go(func() {
			r := rand.New(rand.NewSource(seed))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := action(r); err != nil {
					t.Errorf("seed %d: %v", seed, err)
					return
				}
			}
		})
	}
	for range 2 {
		repeat(func(r *rand.Rand) error {
			data := make([]byte, 1+r.Intn(20_000))
			r.Read(data)
			at := strconv.FormatInt(r.Int63n(1<<20), 10)
			return ask(s.line.Control+"/write?vm=web01&disk=2000&offset="+at, data)
		})
	}
	for range 5 {
		busy.Go(func() {
			if err := ask(s.line.Control+"/identity", []byte(`{}`)); err != nil {
				t.Error(err)
			}
		})
		snap := snapshot(t, vm, "s")
		id := changeID(t, vm, snap)
		loop(t, vm, snap, id)
		loop(t, vm, snap, "*")
		backing(t, vm)
		s.state()
		remove(t, vm, snap)
	}
	close(stop)
	busy.Wait()
	if !bytes.Equal(s.bytesOf("web01-flat.vmdk", 0, 2<<20), s.bytesOf("truth.img", 0, 2<<20)) {
		t.Fatal("base and truth differ")
	}
}

type badStatus string

func (b badStatus) Error() string { return string(b) }

func ask(url string, body []byte) error {
	answer, err := http.Post(url, "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return badStatus(answer.Status)
	}
	return nil
}
