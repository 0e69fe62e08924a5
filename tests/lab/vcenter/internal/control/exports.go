package control

import (
	"net/http"

	"holdfast/tests/lab/vcenter/internal/vim"
)

// exports: POST /exports, body = a vim.ExportOrder; {} = nothing goes wrong.
func (p *Port) exports(r *http.Request) (any, error) {
	var wrong vim.ExportOrder
	if err := order(r, &wrong); err != nil {
		return nil, err
	}
	p.Site.OrderExport(wrong)
	return done{true}, nil
}
