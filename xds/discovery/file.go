package discovery

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/internal/filewatch"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
)

// File is the source `file: PATH`: a file that holds a list of pods, and is followed.
type File string

// String implements statefulroute.PodDiscovery.
func (f *File) String() string { return "file " + string(*f) }

// Written implements statefulroute.PodDiscovery.
func (*File) Written() bool { return true }

// Check implements Config.
func (f *File) Check(doc *strictyaml.Document, at strictyaml.Path) {
	if *f == "" {
		doc.Refuse(at, "must not be empty")
	}
	*f = File(doc.Beside(string(*f)))
}

// NewDiscoverer implements Config.
func (f *File) NewDiscoverer(o Options) Discoverer { return fileDiscoverer{string(*f), o.Logger} }

type fileDiscoverer struct {
	file string
	log  *zap.Logger
}

// settlePatience bounds the wait for a file that is being written: a start or a
// reload waits with it.
const settlePatience = 5 * time.Second

func (d fileDiscoverer) Run(ctx context.Context, updates chan<- Update) {
	read := func() {
		pods, err := ReadList(d.file)
		if err != nil {
			err = &FileError{d.file, err}
		}
		Send(ctx, updates, Update{Pods: pods, Err: err, Watched: true})
	}
	filewatch.Settled(ctx, d.file, settlePatience)
	read()
	filewatch.Follow(ctx, d.file, read, func(err error) {
		d.log.Error("pods are looked for now and then only", zap.Error(err))
	})
}
