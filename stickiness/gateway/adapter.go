package gateway

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// Adapter makes one way to configure one product known to the suite.
type Adapter struct {
	// Name is short, of a-z, 0-9 and -, and unique: it is a row of the table, a
	// folder and what --adapters takes.
	Name string
	// Description is one line: product, version if known, the kind of stickiness.
	Description string
	// Documented are the pages that the configuration follows.
	Documented []string
	// Key is how clients name a session.
	Key Key
	// ReasonHeader is the response header by which the gateway says why it
	// refused a request; empty where it only has the status and the body.
	ReasonHeader string
	// RoutingHeaders are request headers by which the gateway's own parts tell each
	// other of the chosen pod; a schedule has clients forge them.
	RoutingHeaders []string
	// Without has the features that this configuration does not have, each with
	// the reason, one short sentence. What is not in it is taken as promised.
	Without map[Feature]string

	// Available says why the gateway cannot run on this machine, and nil if it
	// can. It is quick and starts nothing that stays. The reason is shown.
	Available func(ctx context.Context) error
	// Start starts Options.Gateways of it in front of the pods and returns when
	// all of them answer requests. After an error nothing of it runs any more, and it
	// may be called again. ctx bounds the start only.
	Start func(ctx context.Context, o Options) (Gateway, error)
}

var adapterName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Validate says what is wrong with the adapter.
func (a Adapter) Validate() error {
	var errs []error
	if !adapterName.MatchString(a.Name) {
		errs = append(errs, errors.New("name: want a-z, 0-9 and single -"))
	}
	if a.Description == "" {
		errs = append(errs, errors.New("description: is empty"))
	}
	if a.Start == nil || a.Available == nil {
		errs = append(errs, errors.New("start and available: both are needed"))
	}
	if err := a.Key.validate(); err != nil {
		errs = append(errs, err)
	}
	for f, reason := range a.Without {
		if !slices.Contains(Features(), f) {
			errs = append(errs, fmt.Errorf("without: no feature %q", f))
		}
		if reason == "" {
			errs = append(errs, fmt.Errorf("without: %s has no reason", f))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("adapter %q: %w", a.Name, err)
	}
	return nil
}
