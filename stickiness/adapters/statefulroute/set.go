package statefulroute

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/adapters/envoyproc"
	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// set is all machines of a run and what they share.
type set struct {
	programs programs
	machines []*machine
	shared   *fleet.Node // the file of pods, and the store
	memory   string      // a folder in memory for the tables
	pods     []gateway.Pod
	ports    *gateway.Ports
}

var _ gateway.ControlPlane = (*set)(nil)

func start(ctx context.Context, o gateway.Options, k kind, p programs) (*set, error) {
	s := &set{programs: p, pods: slices.Clone(o.Pods)}
	if err := s.lay(o, k); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.begin(ctx, k); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// lay chooses addresses and writes all files.
func (s *set) lay(o gateway.Options, k kind) (err error) {
	if s.ports, err = gateway.NewPorts(); err != nil {
		return err
	}
	if s.shared, err = fleet.NewNode(o.Dir, "shared", s.ports, 0); err != nil {
		return err
	}
	if k.module {
		if s.memory, err = os.MkdirTemp("/dev/shm", "stickiness-"); err != nil {
			return err
		}
	}
	for i := range o.Gateways {
		node, err := fleet.NewNode(o.Dir, fmt.Sprintf("gateway-%d", i), s.ports, addresses)
		if err != nil {
			return err
		}
		control, err := fleet.NewNode(o.Dir, fmt.Sprintf("control-%d", i), s.ports, 0)
		if err != nil {
			return err
		}
		m := newMachine(node, control)
		m.Health, m.PodsFile, m.Session = o.Health, s.shared.Path("pods.yaml"), k.session
		// A check is to be over when the next begins. A shorter timeout would take out pods
		// that merely wait for a processor.
		m.Health.Interval = max(o.Health.Interval, o.Health.Timeout)
		if k.replicas {
			m.Store = s.shared.Address
		}
		if k.module {
			m.Module, m.Table = s.programs.module, filepath.Join(s.memory, m.Name())
		}
		s.machines = append(s.machines, m)
	}
	for i, m := range s.machines {
		m.Processors = s.machines
		if err := m.configure(); err != nil {
			return fmt.Errorf("gateway %d: %w", i, err)
		}
	}
	return s.writePods()
}

func (s *set) writePods() error {
	return s.shared.Fill("pods.yaml", fleet.Template(podsText), gateway.Health{}, s.pods)
}

// begin starts everything; what needs another is started after it.
func (s *set) begin(ctx context.Context, k kind) error {
	if k.replicas {
		if err := s.startStore(ctx); err != nil {
			return err
		}
	}
	for _, m := range s.machines {
		if err := m.startControl(s.programs); err != nil {
			return err
		}
	}
	for i := range s.machines {
		if err := s.Restart(ctx, i); err != nil {
			return err
		}
	}
	return s.order(ctx)
}

// startStore starts the server of the sessions as README.md#replicas wants it.
func (s *set) startStore(ctx context.Context) error {
	host, port, err := net.SplitHostPort(s.shared.Address)
	if err != nil {
		return err
	}
	if _, err := s.shared.Run("store", s.programs.store, "--bind", host, "--port", port, "--dir", s.shared.Dir,
		"--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"); err != nil {
		return err
	}
	return s.shared.Until(ctx, func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.shared.Address)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func (s *set) Addresses() []string {
	var all []string
	for _, m := range s.machines {
		all = append(all, m.Address)
	}
	return all
}

func (s *set) SetPods(ctx context.Context, pods []gateway.Pod) error {
	s.pods = slices.Clone(pods)
	if err := s.writePods(); err != nil {
		return err
	}
	return s.order(ctx)
}

// order waits for the pods to be known everywhere, and has the drained ones drained.
func (s *set) order(ctx context.Context) error {
	for _, m := range s.machines {
		if err := m.order(ctx, s.pods); err != nil {
			return fmt.Errorf("%s: %w", m.Name(), errors.Join(err, m.control.Err()))
		}
	}
	return nil
}

// Reload has the programs read their files, which they do when those change, and Envoy
// start its next generation.
func (s *set) Reload(ctx context.Context) error {
	for _, m := range s.machines {
		if err := m.configure(); err != nil {
			return err
		}
		if !m.Running() {
			continue
		}
		if err := envoyproc.HotRestart(ctx, m.Node, s.programs.envoy, bootstrapFile, m.EnvoyAdmin); err != nil {
			return fmt.Errorf("%s: %w", m.Name(), err)
		}
	}
	return nil
}

// Kill ends a machine's Envoy and extproc.
func (s *set) Kill(_ context.Context, i int) error {
	s.machines[i].Kill()
	return nil
}

func (s *set) Restart(ctx context.Context, i int) error {
	m := s.machines[i]
	if err := m.start(ctx, s.programs); err != nil {
		return fmt.Errorf("%s: %w", m.Name(), errors.Join(err, m.Err()))
	}
	return nil
}

// Away ends every xds-server.
func (s *set) Away(context.Context) error {
	for _, m := range s.machines {
		m.control.Kill()
	}
	return nil
}

// Back starts them again.
func (s *set) Back(ctx context.Context) error {
	for _, m := range s.machines {
		if err := m.startControl(s.programs); err != nil {
			return err
		}
	}
	for _, m := range s.machines {
		if err := m.control.Until(ctx, m.leads); err != nil {
			return fmt.Errorf("%s: %w", m.Name(), err)
		}
	}
	return nil
}

func (s *set) Close() error {
	const patience = 2 * time.Second
	var errs []error
	for _, m := range s.machines {
		m.Stop(patience)
		m.control.Stop(patience)
		errs = append(errs, envoyproc.Forget(m.Node))
	}
	if s.shared != nil {
		s.shared.Stop(patience)
	}
	if s.ports != nil {
		errs = append(errs, s.ports.Close())
	}
	if s.memory != "" {
		errs = append(errs, os.RemoveAll(s.memory))
	}
	return errors.Join(errs...)
}
