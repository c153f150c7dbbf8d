package xdsclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// stateFormat is raised when an older extproc could misread the file.
const stateFormat = 1

// savedState is the content of the state file: the last good services and pods,
// with the versions under which xds-server knows them.
type savedState struct {
	Format      int               `json:"format"`
	Services    []savedService    `json:"services"`
	Assignments []savedAssignment `json:"assignments"`
}

type savedService struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Assignment is the one the cluster names, InForce the one in use.
	Assignment string           `json:"assignment"`
	InForce    string           `json:"in_force"`
	Policy     *structpb.Struct `json:"policy"` // as in the cluster's metadata
}

type savedAssignment struct {
	Name    string     `json:"name"`
	Version string     `json:"version,omitempty"`
	Pods    []savedPod `json:"pods"`
}

type savedPod struct {
	Name    string         `json:"name"`
	Address netip.AddrPort `json:"address"`
	Weight  uint32         `json:"weight"`
	Zone    string         `json:"zone,omitempty"`
	State   string         `json:"state"`
}

// clone returns a copy that is not changed any more. Pods and policies are shared:
// nobody changes them in place.
func (s *watchState) clone() *watchState {
	c := newWatchState(s.check)
	c.gotClusters = s.gotClusters
	for name, cluster := range s.clusters {
		c.clusters[name] = cluster
	}
	for name, a := range s.assignments {
		c.assignments[name] = a
	}
	for name, a := range s.inForce {
		c.inForce[name] = a
	}
	return c
}

// encode returns the state as it is written to the file.
func (s *watchState) encode() ([]byte, error) {
	out := savedState{Format: stateFormat, Services: []savedService{}, Assignments: []savedAssignment{}}
	for name, c := range s.clusters {
		meta, err := wire.EncodeService(c.service)
		if err != nil {
			return nil, err
		}
		out.Services = append(out.Services, savedService{
			Name: name, Version: c.version, Assignment: c.assignment, InForce: s.inForce[name], Policy: meta,
		})
	}
	for name, a := range s.assignments {
		saved := savedAssignment{Name: name, Version: a.version, Pods: make([]savedPod, len(a.pods))}
		for i, p := range a.pods {
			saved.Pods[i] = savedPod{Name: p.Name, Address: p.Address, Weight: p.Weight, Zone: p.Zone, State: p.State.String()}
		}
		out.Assignments = append(out.Assignments, saved)
	}
	slices.SortFunc(out.Services, func(a, b savedService) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(out.Assignments, func(a, b savedAssignment) int { return strings.Compare(a.Name, b.Name) })
	return json.Marshal(out)
}

// decode fills an empty state with what encode wrote. It is an error when
// anything is not as it should be.
func (s *watchState) decode(text []byte) error {
	var in savedState
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	if in.Format != stateFormat {
		return fmt.Errorf("format %d is not known, want %d", in.Format, stateFormat)
	}
	for _, a := range in.Assignments {
		pods, err := a.pods()
		if err != nil {
			return fmt.Errorf("assignment %q: %w", a.Name, err)
		}
		s.assignments[a.Name] = assignmentState{version: a.Version, pods: pods}
	}
	for _, saved := range in.Services {
		svc, err := wire.DecodeService(saved.Name, saved.Policy)
		if err != nil {
			return err
		}
		if err := s.check(svc); err != nil {
			return fmt.Errorf("service %q: %w", saved.Name, err)
		}
		if _, ok := s.assignments[saved.InForce]; !ok {
			return fmt.Errorf("service %q has no pods: assignment %q is not there", saved.Name, saved.InForce)
		}
		s.inForce[saved.Name] = saved.InForce
		s.setCluster(saved.Name, &clusterState{version: saved.Version, service: svc, assignment: saved.Assignment})
	}
	s.gotClusters = true
	return nil
}

func (a *savedAssignment) pods() ([]statefulroute.Pod, error) {
	var out []statefulroute.Pod
	names := make(map[string]bool, len(a.Pods))
	for _, p := range a.Pods {
		state, err := statefulroute.ParsePodState(p.State)
		switch {
		case err != nil:
			return nil, fmt.Errorf("pod %q: %w", p.Name, err)
		case p.Name == "" || names[p.Name]:
			return nil, fmt.Errorf("pod %q is there twice or has no name", p.Name)
		case !p.Address.IsValid() || p.Address.Port() == 0:
			return nil, fmt.Errorf("pod %q has no address", p.Name)
		}
		names[p.Name] = true
		out = append(out, statefulroute.Pod{Name: p.Name, Address: p.Address, Weight: max(p.Weight, 1), Zone: p.Zone, State: state})
	}
	return out, nil
}

// readState reads the file, and when it was last known to be right: whoever
// writes it keeps its time of modification up to date. Nothing is read, without
// an error, where there is no file.
func readState(path string, check func(statefulroute.Service) error) (s *watchState, at time.Time, err error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, at, nil
	case err != nil:
		return nil, at, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, at, err
	}
	s = newWatchState(check)
	if err := s.decode(text); err != nil {
		return nil, at, &damagedError{err}
	}
	return s, info.ModTime(), nil
}

// damagedError is about what is in a file, not about reaching it.
type damagedError struct{ err error }

func (e *damagedError) Error() string { return e.err.Error() }
func (e *damagedError) Unwrap() error { return e.err }

// setAside renames a damaged file, so that it can be looked at.
func setAside(path string, now time.Time) (aside string, err error) {
	aside = fmt.Sprintf("%s.damaged-%s", path, now.UTC().Format("20060102T150405.000"))
	return aside, os.Rename(path, aside)
}

// writeState replaces the file in one step: whoever reads it, after a crash too,
// finds the old content or the new one.
func writeState(path string, text []byte) (err error) {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
