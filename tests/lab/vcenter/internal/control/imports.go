package control

import (
	"net/http"

	"holdfast/tests/lab/vcenter/internal/vim"
)

// imports: POST /imports, body = a vim.ImportOrder; {} = nothing goes wrong.
func (p *Port) imports(r *http.Request) (any, error) {
	var wrong vim.ImportOrder
	if err := order(r, &wrong); err != nil {
		return nil, err
	}
	p.Site.OrderImport(wrong)
	return done{true}, nil
}

// made: GET /made, all VMs with the files of their disks.
func (p *Port) made(*http.Request) (any, error) { return p.Site.Made(), nil }

// power: POST /power?vm=web01&on=true.
func (p *Port) power(r *http.Request) (any, error) {
	guest, err := p.guest(r)
	if err != nil {
		return nil, err
	}
	p.Site.Power(guest, r.URL.Query().Get("on") == "true")
	return done{true}, nil
}
