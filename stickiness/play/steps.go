package play

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// stage is all that a schedule's steps act on. They are taken one after the other.
type stage struct {
	gateway gateway.Gateway
	fleet   *pod.Fleet
	world   *world
	pods    []gateway.Pod // the list that the gateways have
}

// action does one thing and notes it in the world.
type action func(ctx context.Context, s *stage, step schedule.Planned) error

func actions() map[schedule.Action]action {
	return map[schedule.Action]action{
		schedule.AddPod: addPod, schedule.RemovePod: removePod, schedule.DrainPod: drainPod,
		schedule.KillPod: killPod, schedule.StartPod: startPod, schedule.MovePod: movePod,
		schedule.PausePod: pausePod, schedule.ResumePod: resumePod,
		schedule.SickenPod: sickenPod, schedule.HealPod: healPod,
		schedule.Reload:      func(ctx context.Context, s *stage, _ schedule.Planned) error { return s.gateway.Reload(ctx) },
		schedule.KillGateway: killGateway, schedule.StartGateway: startGateway,
		schedule.Away: away, schedule.Back: back,
	}
}

// The causes for which a pod cannot serve; what is not there yet is none of these.
const (
	notThere = "not there yet"
	unlisted = "removed"
	ended    = "ended"
	paused   = "paused"
	sick     = "sick"
)

// take takes the steps at their times, or as soon as the one before is done.
func (s *stage) take(ctx context.Context, steps []schedule.Planned) error {
	for _, step := range steps {
		timer := time.NewTimer(max(0, step.At-s.world.now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		began := s.world.now()
		if err := actions()[step.Do](ctx, s, step); err != nil {
			return fmt.Errorf("%s (%s): %w", step.Do, step.Pod, err)
		}
		text := string(step.Do)
		if aboutPod(step.Do) {
			text += " " + step.Pod
		}
		s.world.mark(began, text)
	}
	return nil
}

func aboutPod(a schedule.Action) bool {
	return !slices.Contains([]schedule.Action{schedule.Reload, schedule.KillGateway, schedule.StartGateway, schedule.Away, schedule.Back}, a)
}

// list gives the gateways a changed list.
func (s *stage) list(ctx context.Context, change func([]gateway.Pod) []gateway.Pod) error {
	s.pods = change(slices.Clone(s.pods))
	return s.gateway.SetPods(ctx, slices.Clone(s.pods))
}

func addPod(ctx context.Context, s *stage, step schedule.Planned) error {
	address, err := s.fleet.Start(ctx, step.Pod)
	if err != nil {
		return err
	}
	err = s.list(ctx, func(pods []gateway.Pod) []gateway.Pod {
		return append(pods, gateway.Pod{Name: step.Pod, Address: address, State: gateway.Serving})
	})
	s.world.up(step.Pod, notThere)
	return err
}

func removePod(ctx context.Context, s *stage, step schedule.Planned) error {
	s.world.down(step.Pod, unlisted)
	err := s.list(ctx, func(pods []gateway.Pod) []gateway.Pod {
		return slices.DeleteFunc(pods, func(p gateway.Pod) bool { return p.Name == step.Pod })
	})
	if err != nil {
		return err
	}
	s.world.ends(step.Pod)
	return s.fleet.Stop(ctx, step.Pod)
}

func drainPod(ctx context.Context, s *stage, step schedule.Planned) error {
	err := s.list(ctx, func(pods []gateway.Pod) []gateway.Pod {
		for i := range pods {
			if pods[i].Name == step.Pod {
				pods[i].State = gateway.Draining
			}
		}
		return pods
	})
	s.world.drains(step.Pod)
	return err
}

func killPod(_ context.Context, s *stage, step schedule.Planned) error {
	s.world.down(step.Pod, ended)
	s.world.ends(step.Pod)
	return s.fleet.Kill(step.Pod)
}

func startPod(ctx context.Context, s *stage, step schedule.Planned) error {
	for _, p := range s.pods {
		if p.Name == step.Pod {
			err := s.fleet.StartAt(ctx, p.Name, p.Address)
			s.world.up(step.Pod, ended)
			return err
		}
	}
	return fmt.Errorf("pod %s is not listed", step.Pod)
}

func movePod(ctx context.Context, s *stage, step schedule.Planned) error {
	address, err := s.fleet.Start(ctx, step.Pod)
	if err != nil {
		return err
	}
	err = s.list(ctx, func(pods []gateway.Pod) []gateway.Pod {
		for i := range pods {
			if pods[i].Name == step.Pod {
				pods[i].Address = address
			}
		}
		return pods
	})
	s.world.up(step.Pod, ended)
	return err
}

func pausePod(_ context.Context, s *stage, step schedule.Planned) error {
	s.world.down(step.Pod, paused)
	return s.fleet.Pause(step.Pod)
}

func resumePod(_ context.Context, s *stage, step schedule.Planned) error {
	err := s.fleet.Resume(step.Pod)
	s.world.up(step.Pod, paused)
	return err
}

func sickenPod(ctx context.Context, s *stage, step schedule.Planned) error {
	s.world.down(step.Pod, sick)
	return s.fleet.SetHealthy(ctx, step.Pod, false)
}

func healPod(ctx context.Context, s *stage, step schedule.Planned) error {
	err := s.fleet.SetHealthy(ctx, step.Pod, true)
	s.world.up(step.Pod, sick)
	return err
}

func killGateway(ctx context.Context, s *stage, step schedule.Planned) error {
	s.world.gatewayDown(step.Which)
	return s.gateway.Kill(ctx, step.Which)
}

func startGateway(ctx context.Context, s *stage, step schedule.Planned) error {
	err := s.gateway.Restart(ctx, step.Which)
	s.world.gatewayUp(step.Which)
	return err
}

func away(ctx context.Context, s *stage, _ schedule.Planned) error {
	plane, ok := s.gateway.(gateway.ControlPlane)
	if !ok {
		return errNotApart
	}
	return plane.Away(ctx)
}

func back(ctx context.Context, s *stage, _ schedule.Planned) error {
	plane, ok := s.gateway.(gateway.ControlPlane)
	if !ok {
		return errNotApart
	}
	return plane.Back(ctx)
}
