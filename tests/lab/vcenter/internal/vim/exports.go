package vim

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"log"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"holdfast/tests/lab/vcenter/internal/lab"
	"holdfast/tests/lab/vcenter/internal/stream"
)

// ExportOrder says what goes wrong with exports from now on. Zero: nothing.
type ExportOrder struct {
	LeaseError   bool  `json:"lease_error"`   // the lease goes into its error state
	TimeoutS     int32 `json:"timeout_s"`     // a lease ends without signs of life for so long, default 300
	CutAfter     int64 `json:"cut_after"`     // the connection breaks after so many bytes
	Flip         int64 `json:"flip"`          // the byte at this offset (from 1) of a stream is sent wrong
	Thumbprint   bool  `json:"thumbprint"`    // the lease names a certificate that nobody has
	NoThumbprint bool  `json:"no_thumbprint"` // the lease names no certificate
	SlowMS       int   `json:"slow_ms"`       // pause before each MiB
}

type exports struct {
	sync.Mutex
	order       ExportOrder
	base        string // scheme and host of urls
	certificate string // its SHA-1, as vCenter spells it
	byTicket    map[string]*ExportLease
}

// OrderExport replaces the standing order.
func (s *Site) OrderExport(order ExportOrder) {
	s.exports.Lock()
	defer s.exports.Unlock()
	s.exports.order = order
}

// exportMethods answers ExportSnapshot and ExportVm: the simulator's own exports give the text of
// the descriptor.
type exportMethods struct{ site *Site }

var exportShadow = types.ManagedObjectReference{Type: "LabExports", Value: "lab-exports"}

// Reference is the shadow's own.
func (e *exportMethods) Reference() types.ManagedObjectReference { return exportShadow }

// ExportSnapshot gives a lease for the disks as of the snapshot.
func (e *exportMethods) ExportSnapshot(
	ctx *simulator.Context, request *types.ExportSnapshot,
) soap.HasFault {
	body := new(methods.ExportSnapshotBody)
	snapshot, ok := ctx.Map.Get(request.This).(*simulator.VirtualMachineSnapshot)
	if !ok {
		body.Fault_ = simulator.Fault("no such snapshot",
			&types.ManagedObjectNotFound{Obj: request.This})
		return body
	}
	guest := e.site.byRef[snapshot.Vm]
	lease, fault := e.site.newLease(ctx, guest, request.This.Value)
	if fault != nil {
		body.Fault_ = fault
		return body
	}
	body.Res = &types.ExportSnapshotResponse{Returnval: lease}
	return body
}

// ExportVm gives a lease for the disks as they are; the VM must be powered off.
func (e *exportMethods) ExportVm(ctx *simulator.Context, request *types.ExportVm) soap.HasFault {
	body := new(methods.ExportVmBody)
	guest := e.site.byRef[request.This]
	if guest == nil {
		body.Fault_ = simulator.Fault("no such machine",
			&types.ManagedObjectNotFound{Obj: request.This})
		return body
	}
	if (&vmMethods{guest: guest}).poweredOn(ctx) {
		body.Fault_ = simulator.Fault("the machine runs", &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOff,
			ExistingState:  types.VirtualMachinePowerStatePoweredOn,
		})
		return body
	}
	lease, fault := e.site.newLease(ctx, guest, "")
	if fault != nil {
		body.Fault_ = fault
		return body
	}
	body.Res = &types.ExportVmResponse{Returnval: lease}
	return body
}

// ExportLease is one lease. Its lock guards what the HTTP side and the timer share.
type ExportLease struct {
	mo.HttpNfcLease
	site   *Site
	ticket string
	own    *simulator.Context // for what happens outside of calls

	mu     sync.Mutex
	order  ExportOrder
	disks  map[string]*lab.Export // by the name in the url
	sent   map[string]types.HttpNfcLeaseManifestEntry
	timer  *time.Timer
	broken types.BaseMethodFault
}

func (s *Site) newLease(
	ctx *simulator.Context, guest *Guest, snapshot string,
) (types.ManagedObjectReference, *soap.Fault) {
	s.exports.Lock()
	order, base, certificate := s.exports.order, s.exports.base, s.exports.certificate
	s.exports.Unlock()
	if order.TimeoutS == 0 {
		order.TimeoutS = 300
	}
	lease := &ExportLease{
		site: s, ticket: rand.Text(), order: order,
		own:   &simulator.Context{Context: context.Background(), Session: ctx.Session, Map: ctx.Map},
		disks: map[string]*lab.Export{}, sent: map[string]types.HttpNfcLeaseManifestEntry{},
	}
	lease.Self = types.ManagedObjectReference{Type: "HttpNfcLease", Value: "lab-" + rand.Text()}
	lease.State = types.HttpNfcLeaseStateInitializing
	info := &types.HttpNfcLeaseInfo{Entity: guest.ref, LeaseTimeout: order.TimeoutS}
	for n, d := range guest.Config.Disks {
		disk, err := guest.Machine.Export(d.Key, snapshot)
		if err != nil {
			lease.close()
			return types.ManagedObjectReference{}, simulator.Fault(err.Error(),
				&types.FileFault{File: s.path(d.File)})
		}
		name := fmt.Sprintf("disk-%d.vmdk", n)
		lease.disks[name] = disk
		url := types.HttpNfcLeaseDeviceUrl{
			Key:  fmt.Sprintf("/%s/ParaVirtualSCSIController0:%d", guest.ref.Value, d.Unit),
			Url:  fmt.Sprintf("%s/export/%s/%s", base, lease.ticket, name),
			Disk: types.NewBool(true), TargetId: name,
		}
		switch {
		case order.Thumbprint:
			url.SslThumbprint = strings.Repeat("AB:", 19) + "AB"
		case !order.NoThumbprint:
			url.SslThumbprint = certificate
		}
		info.DeviceUrl = append(info.DeviceUrl, url)
		info.TotalDiskCapacityInKB += d.Capacity / 1024
	}
	ref := ctx.Session.Put(lease).Reference()
	info.Lease = ref
	s.exports.Lock()
	if s.exports.byTicket == nil {
		s.exports.byTicket = map[string]*ExportLease{}
	}
	s.exports.byTicket[lease.ticket] = lease
	s.exports.Unlock()
	if order.LeaseError {
		lease.fail(&types.SystemErrorFault{Reason: "ordered by the lab"})
		return ref, nil
	}
	lease.mu.Lock()
	lease.timer = time.AfterFunc(lease.patience(), func() { lease.fail(&types.Timedout{}) })
	lease.mu.Unlock()
	ctx.WithLock(lease, func() {
		ctx.Update(lease, []types.PropertyChange{
			{Name: "info", Val: info}, {Name: "state", Val: types.HttpNfcLeaseStateReady},
		})
	})
	return ref, nil
}

func (l *ExportLease) patience() time.Duration {
	return time.Duration(l.order.TimeoutS) * time.Second
}

// fail puts the lease into its error state.
func (l *ExportLease) fail(fault types.BaseMethodFault) {
	l.mu.Lock()
	l.broken = fault
	l.mu.Unlock()
	l.forget()
	l.own.WithLock(l, func() {
		l.own.Update(l, []types.PropertyChange{
			{Name: "error", Val: &types.LocalizedMethodFault{
				Fault: fault, LocalizedMessage: "the lab ended this lease",
			}},
			{Name: "state", Val: types.HttpNfcLeaseStateError},
		})
	})
}

// forget makes its urls end.
func (l *ExportLease) forget() {
	l.site.exports.Lock()
	delete(l.site.exports.byTicket, l.ticket)
	l.site.exports.Unlock()
}

func (l *ExportLease) end(ctx *simulator.Context) {
	l.mu.Lock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	l.forget()
	l.close()
	ctx.Session.Remove(ctx, l.Self)
}

func (l *ExportLease) close() {
	for _, disk := range l.disks {
		_ = disk.Close() // read only
	}
}

// HttpNfcLeaseProgress is a sign of life.
func (l *ExportLease) HttpNfcLeaseProgress(
	_ *simulator.Context, request *types.HttpNfcLeaseProgress,
) soap.HasFault {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.TransferProgress = request.Percent
	if l.broken != nil {
		return &methods.HttpNfcLeaseProgressBody{Fault_: simulator.Fault("it ended", l.broken)}
	}
	l.timer.Reset(l.patience())
	return &methods.HttpNfcLeaseProgressBody{Res: new(types.HttpNfcLeaseProgressResponse)}
}

// HttpNfcLeaseComplete ends it.
func (l *ExportLease) HttpNfcLeaseComplete(
	ctx *simulator.Context, _ *types.HttpNfcLeaseComplete,
) soap.HasFault {
	l.end(ctx)
	return &methods.HttpNfcLeaseCompleteBody{Res: new(types.HttpNfcLeaseCompleteResponse)}
}

// HttpNfcLeaseAbort ends it too.
func (l *ExportLease) HttpNfcLeaseAbort(
	ctx *simulator.Context, _ *types.HttpNfcLeaseAbort,
) soap.HasFault {
	l.end(ctx)
	return &methods.HttpNfcLeaseAbortBody{Res: new(types.HttpNfcLeaseAbortResponse)}
}

// HttpNfcLeaseGetManifest says what was sent: the true bytes, whatever an order made of them.
func (l *ExportLease) HttpNfcLeaseGetManifest(
	_ *simulator.Context, _ *types.HttpNfcLeaseGetManifest,
) soap.HasFault {
	l.mu.Lock()
	defer l.mu.Unlock()
	answer := new(types.HttpNfcLeaseGetManifestResponse)
	for _, entry := range l.sent {
		answer.Returnval = append(answer.Returnval, entry)
	}
	return &methods.HttpNfcLeaseGetManifestBody{Res: answer}
}

// Exports serves the urls of leases; base is where it is reached, under this certificate.
func (s *Site) Exports(base string, certificate []byte) http.Handler {
	sum := sha1.Sum(certificate)
	var pairs []string
	for _, b := range sum {
		pairs = append(pairs, fmt.Sprintf("%02X", b))
	}
	s.exports.Lock()
	s.exports.base, s.exports.certificate = base, strings.Join(pairs, ":")
	s.exports.Unlock()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/") // "", export, ticket, name
		s.exports.Lock()
		lease := s.exports.byTicket[parts[2]]
		s.exports.Unlock()
		if lease == nil || len(parts) != 4 || lease.disks[parts[3]] == nil {
			http.NotFound(w, r)
			return
		}
		lease.send(w, parts[3])
	})
}

func (l *ExportLease) send(w http.ResponseWriter, name string) {
	disk := l.disks[name]
	w.Header().Set("Content-Type", "application/x-vnd.vmware-streamVmdk")
	line := &spoiled{out: w, order: l.order, sum: sha1.New()}
	if err := stream.Write(line, disk, disk.Capacity()); err != nil {
		if !errors.Is(err, errCut) {
			log.Printf("vcenter: export of %s: %v", name, err)
		}
		panic(http.ErrAbortHandler)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, url := range l.Info.DeviceUrl {
		if url.TargetId == name {
			l.sent[name] = types.HttpNfcLeaseManifestEntry{
				Key: url.Key, Sha1: hex.EncodeToString(line.sum.Sum(nil)), Size: line.sent,
			}
		}
	}
}

var errCut = errors.New("cut by order")

// spoiled is a connection on which ordered faults happen.
type spoiled struct {
	out   http.ResponseWriter
	order ExportOrder
	sent  int64
	sum   hash.Hash
}

func (s *spoiled) Write(data []byte) (int, error) {
	_, _ = s.sum.Write(data) // a hash takes everything
	if s.order.SlowMS > 0 && s.sent>>20 != (s.sent+int64(len(data)))>>20 {
		_ = http.NewResponseController(s.out).Flush() // whoever is gone shows below
		time.Sleep(time.Duration(s.order.SlowMS) * time.Millisecond)
	}
	if cut := s.order.CutAfter; cut > 0 && s.sent+int64(len(data)) > cut {
		_, _ = s.out.Write(data[:max(0, cut-s.sent)])
		_ = http.NewResponseController(s.out).Flush()
		return 0, errCut
	}
	if at := s.order.Flip - 1 - s.sent; at >= 0 && at < int64(len(data)) {
		data = append([]byte{}, data...)
		data[at] ^= 1
	}
	n, err := s.out.Write(data)
	s.sent += int64(n)
	return n, err
}
