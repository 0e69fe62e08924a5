package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/vmware/govmomi/simulator"

	"holdfast/tests/lab/vcenter/internal/config"
	"holdfast/tests/lab/vcenter/internal/control"
	"holdfast/tests/lab/vcenter/internal/vim"
	"holdfast/tests/lab/vcenter/internal/wire"
)

// farewell is how long running requests may take when the program ends.
const farewell = 2 * time.Second

// announcement is the one line on stdout.
type announcement struct {
	SDK        string `json:"sdk"`
	Control    string `json:"control"`
	Thumbprint string `json:"thumbprint"`
}

// serve plays the site until ctx ends or the control port asks to stop. It writes the
// announcement to out once both ports answer.
func serve(ctx context.Context, c *config.Config, out io.Writer) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	site, err := vim.New(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()

	certificate, err := newCertificate()
	if err != nil {
		return err
	}
	sdk, err := tls.Listen("tcp", c.Listen, &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   tls.VersionTLS12,
		ClientAuth:   tls.RequestClientCert, // as vCenter does; a client answers with none
	})
	if err != nil {
		return err
	}
	defer sdk.Close()
	orders, err := net.Listen("tcp", c.Control)
	if err != nil {
		return err
	}
	defer orders.Close()

	service := site.Service(sdk.Addr().String())
	site.AddFirmware(sdk.Addr().String(), certificate.Certificate[0])
	tags, err := site.REST(ctx, sdk.Addr().String())
	if err != nil {
		return err
	}
	gate := &wire.Gate{Inventory: site, Next: http.HandlerFunc(service.ServeSDK)}
	port := &control.Port{Site: site, Gate: gate, Shutdown: stop}
	line, err := json.Marshal(announcement{
		SDK:        "https://" + sdk.Addr().String() + "/sdk",
		Control:    "http://" + orders.Addr().String(),
		Thumbprint: thumbprint(certificate),
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
		return err
	}
	handler := http.NewServeMux()
	handler.Handle("/export/", site.Exports("https://"+sdk.Addr().String(), certificate.Certificate[0]))
	handler.Handle("/", routes(service, gate, tags, site))
	return run(ctx, map[net.Listener]http.Handler{sdk: handler, orders: port.Handler()})
}

// routes is the simulator's own set of paths, with the gate before /sdk.
func routes(
	service *simulator.Service, gate *wire.Gate, tags http.Handler, site *vim.Site,
) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/sdk", gate)
	mux.HandleFunc("/sdk/vimServiceVersions.xml", service.ServiceVersions)
	mux.Handle("/folder/", gate.Guard(http.HandlerFunc(service.ServeDatastore)))
	mux.Handle("/nfc/", site.NFC(http.HandlerFunc(simulator.ServeNFC)))
	mux.Handle("/rest/", tags)
	mux.Handle(site.Downloads())
	backups := site.FileBackups()
	mux.Handle(vim.FileBackupPath, backups)
	mux.Handle(vim.FileBackupPath+"/", backups)
	return mux
}

// run serves all listeners until ctx ends, then lets running requests finish for a moment.
func run(ctx context.Context, parts map[net.Listener]http.Handler) error {
	failed := make(chan error, len(parts))
	var servers []*http.Server
	for listener, handler := range parts {
		server := &http.Server{
			Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.Default(),
			BaseContext: func(net.Listener) context.Context { return ctx },
		}
		servers = append(servers, server)
		go func() { failed <- server.Serve(listener) }()
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	for _, server := range servers {
		if server.Shutdown(last) != nil {
			err = errors.Join(err, server.Close()) // a long poll is not waited for
		}
	}
	return err
}
