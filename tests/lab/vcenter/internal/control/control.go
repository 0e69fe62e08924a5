// Package control is the loopback port through which a test plays the guest and the weather:
// it writes to disks, orders faults, and looks behind the curtain. It is HTTP with JSON; an error
// is a status of 4xx or 5xx with {"error": "..."}.
package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"holdfast/tests/lab/vcenter/internal/cbt"
	"holdfast/tests/lab/vcenter/internal/lab"
	"holdfast/tests/lab/vcenter/internal/vim"
	"holdfast/tests/lab/vcenter/internal/wire"
)

const (
	maxWrite = 64 << 20 // bytes of one guest write
	maxOrder = 1 << 20  // bytes of one JSON order
)

// Port serves the control requests of one site.
type Port struct {
	Site     *vim.Site
	Gate     *wire.Gate
	Shutdown func() // asks the program to end; returns at once
}

// badRequest is an error of the one who asked.
type badRequest struct{ error }

// Handler lists every request there is.
func (p *Port) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, action := range map[string]func(*http.Request) (any, error){
		"POST /write":           p.write,
		"POST /fault":           p.fault,
		"POST /faults/clear":    p.clearFaults,
		"POST /cbt/reset":       p.resetTracking,
		"POST /cbt/keep-back":   p.keepBack,
		"POST /cbt/page":        p.pageAreas,
		"POST /cbt/script":      p.script,
		"POST /consolidation":   p.lockFiles,
		"POST /identity":        p.identity,
		"POST /vm/add":          p.addVM,
		"POST /vm/traits":       p.traits,
		"POST /vm/remove":       p.removeVM,
		"POST /vm/rename":       p.renameVM,
		"POST /sessions/expire": p.expireSessions,
		"POST /imports":         p.imports,
		"POST /power":           p.power,
		"GET /made":             p.made,
		"POST /exports":         p.exports,
		"GET /state":            p.state,
		"POST /shutdown":        p.shutdown,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { serve(w, r, action) })
	}
	return mux
}

func serve(w http.ResponseWriter, r *http.Request, action func(*http.Request) (any, error)) {
	result, err := action(r)
	status := http.StatusOK
	if err != nil {
		result, status = map[string]string{"error": err.Error()}, statusOf(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(result) // a client that has gone away needs no answer
}

func statusOf(err error) int {
	var bad badRequest
	switch {
	case errors.As(err, &bad), errors.Is(err, lab.ErrRange):
		return http.StatusBadRequest
	case errors.Is(err, lab.ErrNoDisk):
		return http.StatusNotFound
	case errors.Is(err, cbt.ErrUnusable):
		return http.StatusConflict
	case errors.Is(err, lab.ErrDeltaFull):
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

type done struct {
	OK bool `json:"ok"`
}

// write: POST /write?vm=web01&disk=2000&offset=0, body = the guest's bytes.
func (p *Port) write(r *http.Request) (any, error) {
	guest, err := p.guest(r)
	if err != nil {
		return nil, err
	}
	machine, key, err := p.disk(r)
	if err != nil {
		return nil, err
	}
	offset, err := number(r, "offset")
	if err != nil {
		return nil, err
	}
	data, err := body(r, maxWrite)
	if err != nil {
		return nil, err
	}
	if err := machine.Write(key, offset, data); err != nil {
		return nil, err
	}
	p.Site.ShowLayout(guest)
	return done{true}, nil
}

// fault: POST /fault, body = a wire.Rule.
func (p *Port) fault(r *http.Request) (any, error) {
	var rule wire.Rule
	if err := order(r, &rule); err != nil {
		return nil, err
	}
	if err := p.Gate.Rules.Add(rule); err != nil {
		return nil, badRequest{err}
	}
	return done{true}, nil
}

func (p *Port) clearFaults(*http.Request) (any, error) {
	p.Gate.Rules.Clear()
	return done{true}, nil
}

// resetTracking: POST /cbt/reset?vm=web01&disk=2000.
func (p *Port) resetTracking(r *http.Request) (any, error) {
	machine, key, err := p.disk(r)
	if err != nil {
		return nil, err
	}
	return done{true}, machine.ResetTracking(key)
}

// keepBack: POST /cbt/keep-back?vm=web01&disk=2000&writes=1: tracking misses the next write.
func (p *Port) keepBack(r *http.Request) (any, error) {
	machine, key, err := p.disk(r)
	if err != nil {
		return nil, err
	}
	writes, err := number(r, "writes")
	if err != nil {
		return nil, err
	}
	if writes < 0 || writes > 1<<20 {
		return nil, badRequest{errors.New("writes must be 0 to 1048576")}
	}
	return done{true}, machine.KeepBack(key, int(writes))
}

// pageAreas: POST /cbt/page?areas=3, for all disks of all machines.
func (p *Port) pageAreas(r *http.Request) (any, error) {
	areas, err := number(r, "areas")
	if err != nil {
		return nil, err
	}
	if areas < 1 || areas > 1<<20 {
		return nil, badRequest{errors.New("areas must be 1 to 1048576")}
	}
	for _, guest := range p.Site.Guests() {
		guest.Machine.PageAreas(int(areas))
	}
	return done{true}, nil
}

// script: POST /cbt/script?vm=web01&disk=2000, body = [lab.ScriptedAnswer].
func (p *Port) script(r *http.Request) (any, error) {
	machine, key, err := p.disk(r)
	if err != nil {
		return nil, err
	}
	var answers []lab.ScriptedAnswer
	if err := order(r, &answers); err != nil {
		return nil, err
	}
	return done{true}, machine.Script(key, answers)
}

// lockFiles: POST /consolidation?vm=web01&locked=2: the next two consolidations fail.
func (p *Port) lockFiles(r *http.Request) (any, error) {
	guest, err := p.guest(r)
	if err != nil {
		return nil, err
	}
	times, err := number(r, "locked")
	if err != nil {
		return nil, err
	}
	if times < 0 || times > 1<<20 {
		return nil, badRequest{errors.New("locked must be 0 to 1048576")}
	}
	guest.Machine.LockFiles(int(times))
	return done{true}, nil
}

// identity: POST /identity, body = a vim.Identity; {} = the truth.
func (p *Port) identity(r *http.Request) (any, error) {
	var lie vim.Identity
	if err := order(r, &lie); err != nil {
		return nil, err
	}
	return p.Site.SetIdentity(lie), nil
}

func (p *Port) expireSessions(*http.Request) (any, error) {
	return map[string]int{"expired": p.Site.ExpireSessions()}, nil
}

// State is the answer of GET /state.
type State struct {
	VMs      []vim.GuestState `json:"vms"`
	Calls    map[string]int   `json:"calls"`    // by method, since the start
	Sessions int              `json:"sessions"` // live ones
	Action   string           `json:"action"`   // SOAPAction of the newest call
	Faults   []string         `json:"faults"`   // rules that may still hit
}

func (p *Port) state(*http.Request) (any, error) {
	state := State{
		VMs: []vim.GuestState{}, Calls: p.Gate.Calls(),
		Sessions: len(p.Site.Sessions()), Action: p.Gate.Action(), Faults: p.Gate.Rules.Pending(),
	}
	for _, guest := range p.Site.Guests() {
		state.VMs = append(state.VMs, p.Site.State(guest))
	}
	return state, nil
}

func (p *Port) shutdown(*http.Request) (any, error) {
	p.Shutdown()
	return done{true}, nil
}

func (p *Port) guest(r *http.Request) (*vim.Guest, error) {
	name := r.URL.Query().Get("vm")
	if guest := p.Site.Guest(name); guest != nil {
		return guest, nil
	}
	return nil, badRequest{fmt.Errorf("vm: no machine %q", name)}
}

func (p *Port) disk(r *http.Request) (*lab.Machine, int32, error) {
	guest, err := p.guest(r)
	if err != nil {
		return nil, 0, err
	}
	key, err := strconv.ParseInt(r.URL.Query().Get("disk"), 10, 32)
	if err != nil {
		return nil, 0, badRequest{fmt.Errorf("disk: %w", err)}
	}
	return guest.Machine, int32(key), nil
}

func number(r *http.Request, name string) (int64, error) {
	n, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
	if err != nil {
		return 0, badRequest{fmt.Errorf("%s: %w", name, err)}
	}
	return n, nil
}

func body(r *http.Request, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, badRequest{err}
	}
	if int64(len(data)) > limit {
		return nil, badRequest{fmt.Errorf("the body is longer than %d bytes", limit)}
	}
	return data, nil
}

// order decodes a JSON body; unknown keys are errors, as a mistyped order must not pass.
func order(r *http.Request, into any) error {
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxOrder))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return badRequest{err}
	}
	return nil
}
