package vim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// FileBackupPath is where a vCenter takes orders for its own file-based backup.
const FileBackupPath = "/rest/appliance/recovery/backup/job"

// fileBackups answers such orders as the documentation says; nothing is written anywhere. A job is
// in progress at the first look, and has failed afterwards when its location says 'unreachable'.
type fileBackups struct {
	mu    sync.Mutex
	looks map[string]int
	fails map[string]bool
}

type backupStatus struct {
	ID       string   `json:"id"`
	State    string   `json:"state"`
	Progress int      `json:"progress"`
	Messages []string `json:"messages"`
}

// FileBackups is the handler of FileBackupPath and of what is below it.
func (s *Site) FileBackups() http.Handler {
	return &fileBackups{looks: map[string]int{}, fails: map[string]bool{}}
}

// ServeHTTP implements http.Handler.
func (b *fileBackups) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("vmware-api-session-id") == "" {
		http.Error(w, "no session", http.StatusUnauthorized)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	id := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, FileBackupPath), "/")
	switch {
	case r.Method == http.MethodPost && id == "":
		b.begin(w, r)
	case r.Method == http.MethodGet && b.looks[id] > 0:
		b.looks[id]++
		b.show(w, id)
	default:
		http.NotFound(w, r)
	}
}

func (b *fileBackups) begin(w http.ResponseWriter, r *http.Request) {
	var order struct {
		Piece struct {
			LocationType string   `json:"location_type"`
			Location     string   `json:"location"`
			User         string   `json:"location_user"`
			Password     string   `json:"location_password"`
			Parts        []string `json:"parts"`
		} `json:"piece"`
	}
	err := json.NewDecoder(r.Body).Decode(&order)
	p := order.Piece
	scheme, _, _ := strings.Cut(p.Location, "://")
	if err != nil || p.LocationType != strings.ToUpper(scheme) || p.Password == "" || len(p.Parts) == 0 {
		http.Error(w, "the order is not whole", http.StatusBadRequest)
		return
	}
	id := fmt.Sprintf("20260101-120000-%d", len(b.looks)+1)
	b.looks[id], b.fails[id] = 1, strings.Contains(p.Location, "unreachable")
	b.show(w, id)
}

func (b *fileBackups) show(w http.ResponseWriter, id string) {
	status := backupStatus{ID: id, State: "INPROGRESS", Progress: 50, Messages: []string{}}
	if b.looks[id] > 1 {
		status.State, status.Progress = "SUCCEEDED", 100
		if b.fails[id] {
			status.State, status.Messages = "FAILED", []string{"the location cannot be reached"}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]backupStatus{"value": status}) // the client may be gone
}
