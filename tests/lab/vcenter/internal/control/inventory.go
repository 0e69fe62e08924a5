package control

import (
	"errors"
	"net/http"

	"holdfast/tests/lab/vcenter/internal/vim"
)

// addVM: POST /vm/add?vm=new01&uuid=50…, a machine without disks.
func (p *Port) addVM(r *http.Request) (any, error) {
	query := r.URL.Query()
	if query.Get("vm") == "" || query.Get("uuid") == "" {
		return nil, badRequest{errors.New("vm and uuid must be given")}
	}
	return done{true}, p.Site.AddVM(r.Context(), query.Get("vm"), query.Get("uuid"))
}

// removeVM: POST /vm/remove?vm=new01.
func (p *Port) removeVM(r *http.Request) (any, error) {
	return done{true}, p.Site.RemoveVM(r.Context(), r.URL.Query().Get("vm"))
}

// renameVM: POST /vm/rename?vm=new01&to=new02.
func (p *Port) renameVM(r *http.Request) (any, error) {
	query := r.URL.Query()
	return done{true}, p.Site.RenameVM(r.Context(), query.Get("vm"), query.Get("to"))
}

// traits: POST /vm/traits?vm=web01, body = a vim.Traits; {} = as it was made.
func (p *Port) traits(r *http.Request) (any, error) {
	guest, err := p.guest(r)
	if err != nil {
		return nil, err
	}
	var traits vim.Traits
	if err := order(r, &traits); err != nil {
		return nil, err
	}
	p.Site.SetTraits(guest, traits)
	return done{true}, nil
}
