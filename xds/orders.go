package xds

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Order is an operator's word on a pod that outlives xds-server.
type Order struct {
	Service string `json:"service"`
	Pod     string `json:"pod"`
	State   string `json:"state"` // draining or maintenance
}

// OrderKeeper keeps the orders in force; a Server calls it from its loop.
type OrderKeeper interface {
	Save([]Order) error
}

// OrderFile keeps orders in a JSON file.
type OrderFile struct{ Path string }

// Load returns the kept orders. A file that is not ours, or damaged, is set
// aside as PATH.damaged, and an error says so; the server may go on without.
func (f OrderFile) Load() ([]Order, error) {
	raw, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read orders: %w", err)
	}
	var orders []Order
	if err := json.Unmarshal(raw, &orders); err != nil {
		aside := f.Path + ".damaged"
		return nil, errors.Join(fmt.Errorf("orders in %s are damaged, the file is set aside as %s: %w", f.Path, aside, err), os.Rename(f.Path, aside))
	}
	return orders, nil
}

// Save replaces the file in one step, so that a crash leaves the old one or the new.
func (f OrderFile) Save(orders []Order) error {
	raw, err := json.MarshalIndent(orders, "", "  ")
	if err != nil {
		return fmt.Errorf("write orders: %w", err)
	}
	next, err := os.CreateTemp(filepath.Dir(f.Path), filepath.Base(f.Path)+".new*")
	if err != nil {
		return fmt.Errorf("write orders: %w", err)
	}
	_, err = next.Write(append(raw, '\n'))
	err = errors.Join(err, next.Sync(), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), f.Path)
	}
	if err != nil {
		return fmt.Errorf("write orders: %w", errors.Join(err, os.Remove(next.Name())))
	}
	return nil
}

// Orders returns what operators said of the pods there are, in the order of
// services and pods.
func (d *Desk) Orders() []Order {
	orders := []Order{}
	for _, svc := range d.services {
		for _, p := range d.pods[svc.Name] {
			if s := d.facts[podID{svc.Name, p.Name}].override; s != statefulroute.Ready {
				orders = append(orders, Order{svc.Name, p.Name, s.String()})
			}
		}
	}
	return orders
}

// Obey repeats kept orders; those on pods that are gone are dropped.
func (d *Desk) Obey(orders []Order) error {
	for _, o := range orders {
		state, err := statefulroute.ParsePodState(o.State)
		if err == nil {
			err = d.SetOverride(o.Service, o.Pod, state)
		}
		if err != nil && !errors.Is(err, ErrUnknownPod) {
			return fmt.Errorf("kept order on pod %q of service %q: %w", o.Pod, o.Service, err)
		}
	}
	return nil
}
