package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"

	"github.com/stateful-route/stateful-route/xds"
)

// moduleFile is what `make build` leaves beside the programs where there is a C compiler.
const moduleFile = "libstateful_route.so"

// fastPath is what Envoy and the first extproc share; the zero value is nothing. Of several
// extprocs one is enough: what its table says holds for all while its lease runs, and
// sessions that only others know ask them.
type fastPath struct {
	module, table string
	own           bool   // the table is this run's, and named in a copy of the configuration
	seen          string // the way that Envoy's requests take, once it is known
}

// addFastPath prepares the table, if there is a module: where the configuration says, or in
// the folder, which is this run's.
func (p *plan) addFastPath(folder string) error {
	module, err := filepath.Abs(filepath.Join(p.bin, moduleFile))
	if err != nil {
		return err
	}
	if _, err := os.Stat(module); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	p.fast = fastPath{module: module, table: p.extproc.FastPath.Table}
	if p.fast.table == "" {
		p.fast.table, p.fast.own = filepath.Join(folder, "table"), true
	}
	p.fast.table, err = filepath.Abs(p.fast.table)
	return err
}

// sharedPrefix is followed by the number of a process, and something random.
const sharedPrefix = "stateful-route-run-"

// sharedFolder makes a folder of this run, in memory where the system has a place for it.
// Those of runs that were killed go: they would hold some 30 MB of memory each.
func sharedFolder() (string, error) {
	parent := os.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		parent = "/dev/shm"
	}
	left, err := filepath.Glob(filepath.Join(parent, sharedPrefix+"*"))
	if err != nil {
		return "", err
	}
	for _, folder := range left {
		var pid int
		_, err := fmt.Sscanf(filepath.Base(folder), sharedPrefix+"%d-", &pid)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(folder) // another user's stays
		}
	}
	return os.MkdirTemp(parent, fmt.Sprintf("%s%d-", sharedPrefix, os.Getpid()))
}

// withTable is the configuration file of a single extproc: a copy that names this run's
// table, if there is one.
func (p *plan) withTable(dir string) (string, error) {
	if !p.fast.own {
		return p.extprocConfig, nil
	}
	changes := p.tableOf(0)
	if m := p.extproc.Store.Memory; m != nil && m.Path != "" {
		path, err := filepath.Abs(m.Path)
		if err != nil {
			return "", err
		}
		changes["store"] = map[string]any{"memory": map[string]any{"path": path, "sync": m.Sync.String()}}
	}
	file := p.replicas[0].config(dir)
	return file, rewrite(p.extprocConfig, file, func(c map[string]any) { maps.Copy(c, changes) })
}

// tableOf is what the configuration of an extproc says of the table: the first writes it.
func (p *plan) tableOf(replica int) map[string]any {
	if p.fast.table == "" || replica > 0 {
		return map[string]any{}
	}
	return map[string]any{"fast_path": map[string]any{"table": p.fast.table}}
}

// knowsPath takes xds-server's list of clients once Envoy has its listeners, and keeps
// which way its requests take.
func (p *plan) knowsPath(clients string) bool {
	var list []xds.ClientStatus
	if err := json.Unmarshal([]byte(clients), &list); err != nil {
		return false
	}
	for _, c := range list {
		if c.Client != "envoy" || c.Type != "lds" || c.Status != "ack" {
			continue
		}
		switch {
		case c.Path == xds.PathModule:
			p.fast.seen = "known sessions by Envoy alone, with " + p.fast.table
		case c.PathReason != "":
			p.fast.seen = "all by extproc: " + c.PathReason
		default:
			p.fast.seen = "all by extproc: there is no " + moduleFile + ", which `make build` makes where there is a C compiler"
		}
		return true
	}
	return false
}
