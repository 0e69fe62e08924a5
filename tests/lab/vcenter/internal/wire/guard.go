package wire

import "net/http"

// Guard lets only requests with a live session pass: the simulator serves its datastores to
// everybody.
func (g *Gate) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.authenticated(r) {
			http.Error(w, "no session", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
