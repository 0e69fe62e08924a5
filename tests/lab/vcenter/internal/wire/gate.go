// Package wire stands in front of the simulator's SOAP endpoint. It does what the simulator does
// not: refuse requests without a SOAPAction, count calls, carry out ordered faults (delays, cut
// connections and failing tasks among them), and answer DisableMethods and EnableMethods.
package wire

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// maxRequest bounds the bytes of one request.
const maxRequest = 8 << 20

// Inventory is what the gate needs of the site.
type Inventory interface {
	Sessions() []string
	FailedTask(types.ManagedObjectReference, string, types.BaseMethodFault) types.ManagedObjectReference
	DisableMethods(vm string, names []string, disable bool) bool
}

// Gate is the handler of /sdk.
type Gate struct {
	Rules     Rules
	Inventory Inventory
	Next      http.Handler

	mu     sync.Mutex
	calls  map[string]int
	action string // SOAPAction of the newest call
}

// Calls counts the requests by method since the start, refused and failed ones included.
func (g *Gate) Calls() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	counts := map[string]int{}
	maps.Copy(counts, g.calls)
	return counts
}

// ServeHTTP implements http.Handler.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		g.Next.ServeHTTP(w, r)
		return
	}
	if !strings.Contains(r.Header.Get("SOAPAction"), "urn:vim25/") {
		refuse(w, "InvalidRequest", "SOAPAction does not name urn:vim25/<version>", nil)
		return
	}
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c, err := callOf(request)
	if err != nil {
		refuse(w, "InvalidRequest", err.Error(), nil)
		return
	}
	g.count(c.Name, r.Header.Get("SOAPAction"))
	if rule := g.Rules.take(c.Name); rule != nil && g.obey(w, r, c, rule) {
		return
	} else if rule != nil && rule.DropAnswer {
		w = discard{header: http.Header{}}
		defer abort()
	}
	if c.Space == internalSpace {
		g.internal(w, r, c)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(request))
	g.Next.ServeHTTP(w, r)
}

// Action is the SOAPAction of the newest call.
func (g *Gate) Action() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.action
}

func (g *Gate) count(method, action string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls == nil {
		g.calls = map[string]int{}
	}
	g.calls[method]++
	g.action = action
}

// obey carries out what a rule orders before the call; true when that was the answer.
func (g *Gate) obey(w http.ResponseWriter, r *http.Request, c *call, rule *Rule) bool {
	select {
	case <-time.After(time.Duration(rule.DelayMS) * time.Millisecond):
	case <-r.Context().Done(): // the client is gone, or the program ends
		abort()
	}
	if rule.DropConnection {
		abort()
	}
	if rule.Fault == "" {
		return false
	}
	fault, err := rule.fault()
	if err != nil {
		fault = nil // a type nobody knows, sent by its name alone
	}
	if rule.Task && g.authenticated(r) {
		task := g.Inventory.FailedTask(c.This, c.Name, fault)
		answer(w, http.StatusOK, taskEnvelope(c.Name, task))
		return true
	}
	if rule.Task {
		return false // without a session there is no task; the simulator refuses by itself
	}
	refuse(w, rule.Fault, rule.text(), fault)
	return true
}

// internal answers the two calls of the internal namespace that backup products use.
func (g *Gate) internal(w http.ResponseWriter, r *http.Request, c *call) {
	if c.Name != "DisableMethods" && c.Name != "EnableMethods" {
		refuse(w, "InvalidRequest", "no such internal method: "+c.Name, nil)
		return
	}
	if !g.authenticated(r) {
		refuse(w, "NotAuthenticated", "The session is not authenticated.",
			&types.NotAuthenticated{NoPermission: types.NoPermission{
				Object: &c.This, PrivilegeId: "System.View",
			}})
		return
	}
	for _, entity := range c.Entities {
		if !g.Inventory.DisableMethods(entity, c.Methods, c.Name == "DisableMethods") {
			ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: entity}
			refuse(w, "ManagedObjectNotFound", "no such machine: "+entity,
				&types.ManagedObjectNotFound{Obj: ref})
			return
		}
	}
	answer(w, http.StatusOK, emptyEnvelope(c.Name))
}

func (g *Gate) authenticated(r *http.Request) bool {
	cookie, err := r.Cookie(soap.SessionCookieName)
	return err == nil && slices.Contains(g.Inventory.Sessions(), strings.Trim(cookie.Value, `"`))
}

func refuse(w http.ResponseWriter, name, message string, fault types.BaseMethodFault) {
	answer(w, http.StatusInternalServerError, faultEnvelope(name, message, fault))
}

func answer(w http.ResponseWriter, status int, envelope []byte) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(envelope) // a client that has gone away needs no answer
}

// abort closes the connection without an answer.
func abort() { panic(http.ErrAbortHandler) }

// discard swallows an answer that the client shall not get.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
