package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"sync"

	"github.com/vmware/govmomi/vim25/types"
)

// Rule orders what goes wrong with calls of one method.
type Rule struct {
	Method  string          `json:"method"` // such as CreateSnapshot_Task; "*" = every method
	Fault   string          `json:"fault"`  // type name, such as FileFault; "" = no fault
	Message string          `json:"message"`
	Detail  json.RawMessage `json:"detail"` // properties of the fault, such as {"file":"x"}
	// How many calls it hits, the first skip left out. Absent = 1, negative = all from then on.
	Count *int `json:"count"`
	Skip  int  `json:"skip"`
	// The call succeeds and returns a task that ends in the fault; nothing is done.
	Task    bool `json:"task"`
	DelayMS int  `json:"delay_ms"`
	// The connection is closed instead of an answer, before anything is done.
	DropConnection bool `json:"drop_connection"`
	// The call is carried out and then the connection is closed instead of its answer.
	DropAnswer bool `json:"drop_answer"`
}

var typeName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,100}$`)

func (r *Rule) check() error {
	var problems []error
	problem := func(when bool, text string) {
		if when {
			problems = append(problems, errors.New(text))
		}
	}
	problem(r.Method != "*" && !typeName.MatchString(r.Method), "method: not a method's name")
	problem(r.Fault != "" && !typeName.MatchString(r.Fault), "fault: not a type's name")
	problem(r.Count != nil && *r.Count == 0, "count 0 orders nothing")
	problem(r.Skip < 0 || r.DelayMS < 0, "skip and delay_ms must not be negative")
	problem(r.Task && !strings.HasSuffix(r.Method, "_Task"), "task: the method makes no task")
	problem(r.Task && r.Fault == "", "task: needs a fault")
	problem(r.Fault == "" && r.DelayMS == 0 && !r.DropConnection && !r.DropAnswer,
		"the rule orders nothing")
	if _, err := r.fault(); r.Fault != "" && err != nil && (r.Task || len(r.Detail) > 0) {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// fault makes the typed fault. A type that govmomi does not know is an error here; it can still
// be sent as an empty element, for a client must live with types that it has never seen.
func (r *Rule) fault() (types.BaseMethodFault, error) {
	kind, ok := types.TypeFunc()(r.Fault)
	if !ok {
		return nil, fmt.Errorf("fault %s: no such type", r.Fault)
	}
	value := reflect.New(kind).Interface()
	fault, ok := value.(types.BaseMethodFault)
	if !ok {
		return nil, fmt.Errorf("fault %s: not a fault", r.Fault)
	}
	if len(r.Detail) > 0 {
		if err := json.Unmarshal(r.Detail, value); err != nil {
			return nil, fmt.Errorf("fault %s: detail: %w", r.Fault, err)
		}
	}
	return fault, nil
}

func (r *Rule) text() string {
	if r.Message != "" {
		return r.Message
	}
	return "ordered by the lab: " + r.Fault
}

// Rules are the standing orders, oldest first. At most one applies to a call.
type Rules struct {
	mu    sync.Mutex
	rules []*order
}

type order struct {
	Rule
	skip, left int // left < 0 = without end
}

// Add checks and appends a rule.
func (r *Rules) Add(rule Rule) error {
	if err := rule.check(); err != nil {
		return err
	}
	left := 1
	if rule.Count != nil {
		left = *rule.Count
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = append(r.rules, &order{Rule: rule, skip: rule.Skip, left: left})
	return nil
}

// Clear withdraws all rules.
func (r *Rules) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = nil
}

// Pending describes the rules that may still hit a call.
func (r *Rules) Pending() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	pending := []string{}
	for _, o := range r.rules {
		pending = append(pending, fmt.Sprintf("%s: %s (skip %d, left %d)", o.Method, o.Fault, o.skip, o.left))
	}
	return pending
}

// take uses up one hit of the first rule for the method; nil when none applies.
func (r *Rules) take(method string) *Rule {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, o := range r.rules {
		if o.Method != "*" && o.Method != method {
			continue
		}
		if o.skip > 0 {
			o.skip--
			return nil
		}
		if o.left > 0 {
			o.left--
		}
		if o.left == 0 {
			r.rules = append(r.rules[:i:i], r.rules[i+1:]...)
		}
		return &o.Rule
	}
	return nil
}
